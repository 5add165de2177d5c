"""Copies the folder of a running search behind a URI, at a bounded rate and in a thread of its own.

The journal is never behind the states of trials that lie beside it: those are read before it and written after it. A
copy that fails is told once and tried again; the search goes on, and its folder here is whole.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from kdsearch.contents import CONFIRMING, JOURNAL, STATES, TENSORBOARD
from kdsearch.errors import UserError
from kdsearch.remote.copies import NETWORKS, walk
from kdsearch.remote.place import Place, reason
from kdsearch.remote.writer import Writer

__all__ = ["EVERY_S", "Mirror"]

# Least time between two copies.
EVERY_S = 5.0
# Copying takes at most one part of the time in so many.
_SHARE = 10
# Folders whose files are written once, or only appended to: of one as large as its copy nothing is new.
_LASTING = (CONFIRMING, TENSORBOARD, NETWORKS)
# Folders whose files go when they are of no more use, here and so in the copy.
_PASSING = STATES
# What to wait for the last copy.
_PATIENCE_S = 120.0

_Signature = tuple[int, int]


class Mirror:
    """A folder's copy behind a URI, kept up for the time of a ``with``.

    Args:
        place: behind the URI.
        folder: of this machine.
        networks: files of the cache that travel too, there already or not yet; more may be added as the search goes on.
        writer: this process as the one that writes.
        every_s: least time between two copies.

    Attributes:
        tell: takes a line for the user; called in the mirror's thread.
    """

    def __init__(
        self, place: Place, folder: Path, networks: Sequence[Path], writer: Writer, every_s: float = EVERY_S
    ) -> None:
        self._place, self._folder, self._writer, self._every_s = place, folder, writer, every_s
        self._networks = networks
        self._sent: dict[str, _Signature] = {}
        self._there: Mapping[str, int] = {}
        self._passing: set[str] = set()
        self._problem: str | None = None
        self._lost = False
        self._ending, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._live, name="kdsearch-mirror", daemon=True)
        self.tell: Callable[[str], None] = _to_stderr

    def __enter__(self) -> Self:
        self._there = self._place.files()
        self._passing = {name for name in self._there if _passes(name)}
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        problem = self._end()
        if problem is None or self._lost:
            return
        what = (
            f"{self._place.uri} lacks the last results ({problem}): they are in {self._folder}, and the same command "
            "with --resume copies them"
        )
        if kind is None:
            raise UserError(what)
        _to_stderr(f"warning: {what}")

    def _end(self) -> str | None:
        """Wait for a last copy; why it failed."""
        self._ending.set()
        try:
            if not self._over.wait(_PATIENCE_S):
                return f"no answer for {_PATIENCE_S:.0f} s"
        except KeyboardInterrupt:
            return "interrupted"
        return self._problem

    def _live(self) -> None:
        last = False
        try:
            while not last:
                last = self._ending.is_set()
                began = time.monotonic()
                self._try()
                self._ending.wait(self._pause(time.monotonic() - began))
        finally:
            self._over.set()

    def _pause(self, took_s: float) -> float:
        return max(self._every_s, _SHARE * took_s)

    def _try(self) -> None:
        """One copy, or one line on why not."""
        if self._lost:
            return
        try:
            if self._writer.replaced():
                self._lost = True
                self.tell(
                    f"warning: another search has taken over {self._place.uri}: this one goes on in {self._folder} only"
                )
                return
            began = time.monotonic()
            self._copy()
            if self._ending.is_set():
                self._writer.leave()
            else:
                self._writer.say(self._pause(time.monotonic() - began))
        except Exception as error:  # whatever it is, it must not end the search
            if self._problem is None:
                self.tell(
                    f"warning: {self._place.uri} cannot be written ({reason(error)}): the search goes on in "
                    f"{self._folder}, and copying is tried again"
                )
            self._problem = reason(error)
        else:
            if self._problem is not None:
                self.tell(f"{self._place.uri} is written again")
            self._problem = None

    def _copy(self) -> None:
        """Write what is new, and remove the states of trials that have ended."""
        here = list(self._files())
        contents: dict[str, tuple[bytes, _Signature]] = {}
        for name, path, signature in sorted(here, key=lambda file: file[0] == JOURNAL):
            if _lasts(name) and self._there.get(name) == signature[0]:
                self._sent.setdefault(name, signature)
            if self._sent.get(name) == signature:
                continue
            with contextlib.suppress(FileNotFoundError):  # a trial that has ended since
                contents[name] = (_whole(name, path.read_bytes()), signature)
        for name in sorted(contents, key=lambda name: name != JOURNAL):
            content, signature = contents.pop(name)
            self._place.write(name, content)
            self._sent[name] = signature
            if _passes(name):
                self._passing.add(name)
            self._writer.say_again()
        self._there = {}  # from now on what was sent tells what is new
        for name in self._passing - {name for name, _, _ in here}:
            self._place.remove(name)
            self._passing.discard(name)
            self._sent.pop(name, None)

    def _files(self) -> Iterator[tuple[str, Path, _Signature]]:
        for name, found in walk(self._folder):
            yield name, self._folder / name, (found.st_size, found.st_mtime_ns)
        for network in tuple(self._networks):
            for path in (network, network.with_suffix(".partial")):
                with contextlib.suppress(FileNotFoundError):
                    found = path.stat()
                    yield f"{NETWORKS}/{path.name}", path, (found.st_size, found.st_mtime_ns)


def _lasts(name: str) -> bool:
    path = PurePosixPath(name)
    return path.parts[0] in _LASTING and path.suffix != ".partial"


def _passes(name: str) -> bool:
    path = PurePosixPath(name)
    return path.parts[0] == _PASSING or path.suffix == ".partial"


def _whole(name: str, content: bytes) -> bytes:
    """Of a journal that is being written, the records that are whole."""
    return content[: content.rfind(b"\n") + 1] if name == JOURNAL else content


def _to_stderr(line: str) -> None:
    print(f"kdsearch: {line}", file=sys.stderr, flush=True)
