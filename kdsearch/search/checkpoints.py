"""States of the running trials, kept by the driver, so that a trial goes on after the driver or its worker died.

States travel inside the reports and only the driver writes them: no shared file system is needed, a file is whole or
not there, and it is never ahead of the journal, which is written first.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from kdsearch.atomic import atomic_write, is_unfinished

__all__ = ["Checkpoints"]


class Checkpoints:
    """One file a running trial under a folder; none for a trial that has ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.pt"

    def read(self, number: int) -> bytes | None:
        """The last state of a trial."""
        try:
            return self._path(number).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, number: int, state: bytes) -> None:
        """Replace the state of a trial."""
        with atomic_write(self._path(number), sync=False) as temporary:
            temporary.write_bytes(state)

    def remove(self, number: int) -> None:
        """The trial has ended."""
        with contextlib.suppress(FileNotFoundError):
            self._path(number).unlink()

    def keep_only(self, numbers: set[int]) -> None:
        """Remove what a crash left of trials that have ended."""
        for file in self.folder.iterdir():
            if is_unfinished(file.name) or file.suffix != ".pt" or int(file.stem) not in numbers:
                file.unlink(missing_ok=True)

    def clear(self) -> None:
        """No trial is left to go on."""
        shutil.rmtree(self.folder, ignore_errors=True)
