"""Paths as a user writes them."""

from __future__ import annotations

from pathlib import Path

from kdsearch.errors import UserError

__all__ = ["home"]


def home(path: Path) -> Path:
    """A path with ``~`` and ``~name`` replaced, which a shell leaves as they are in ``--output=~/run``.

    Raises:
        UserError: there is no such user.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no such home folder; write the path out") from None
