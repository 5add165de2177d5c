"""Files that are whole or not there: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_write", "is_unfinished", "parent_of"]


@contextmanager
def atomic_write(path: Path, sync: bool = True, ending: str = ".tmp") -> Iterator[Path]:
    """Where to write a file, which gets its name when the block ends well and is removed when it does not.

    A reader sees the old file or the new one, never a part of one.

    Args:
        path: the file; folders that lack are made.
        sync: wait for the disk, so that the same holds after the machine has failed. What is written every few seconds
            and can be computed again does not need it.
        ending: of the path to write to, where what writes or opens it goes by that.

    Yields:
        A path in the same folder (a rename is atomic only within one file system) with that ending.

    A link stays one: the file that it names is written.

    Raises:
        OSError: the path is that of a folder, the folder cannot be written, or its disk is full.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{ending}")
    try:
        yield temporary
        if sync:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def is_unfinished(name: str) -> bool:
    """Whether a file's name is one that :func:`atomic_write` gives until the file is whole."""
    return name.startswith(".")


def parent_of(path: Path) -> tuple[Path, bool]:
    """The part of a path that exists already, and whether something may be made in it, as far as can be told."""
    while not path.exists():
        path = path.parent
    return path, path.is_dir() and os.access(path, os.W_OK | os.X_OK) and not _read_only(path)


def _read_only(folder: Path) -> bool:
    """A read-only file system, which the superuser's permissions do not show."""
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except (AttributeError, OSError):
        return False
