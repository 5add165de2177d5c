"""The one exception that a command turns into a sentence on stderr and exit code 2."""

__all__ = ["UserError"]


class UserError(Exception):
    """A mistake its user can mend.

    The message is one sentence that says what is wrong, where, and what to do. Library code raises it;
    only the commands catch it. It never carries a traceback to the terminal.
    """
