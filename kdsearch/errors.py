"""The one exception that a command turns into a sentence on stderr and exit code 2, and what goes with it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["BROKEN_PIPE", "INTERRUPTED", "USER_ERROR", "UserError", "suggestion"]

# Exit codes.
USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, what a shell reports for a command ended by Ctrl-C
BROKEN_PIPE = 141  # 128 + SIGPIPE


class UserError(Exception):
    """A mistake its user can mend.

    The message is one sentence that says what is wrong, where, and what to do. Library code raises it;
    only the commands catch it. It never carries a traceback to the terminal.
    """


def suggestion(given: str, known: Iterable[str]) -> str:
    """``"; did you mean X?"`` where a known name is near the given one, else nothing."""
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""
