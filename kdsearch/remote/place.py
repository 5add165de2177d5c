"""The folder behind a URI, by whichever of pyarrow's file systems knows it: a few small files, read and written whole.

pyarrow finds credentials where each cloud's own tools leave them.
"""

from __future__ import annotations

import posixpath
import threading
import uuid
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, TypeVar

from kdsearch.errors import UserError
from kdsearch.remote.uri import Uri, without_secrets

__all__ = ["FAILURES", "Place", "reason"]

T = TypeVar("T")
# What pyarrow raises where a file system fails: ArrowInvalid is a ValueError, ArrowNotImplementedError the last.
FAILURES = (OSError, ValueError, NotImplementedError)
# What to wait for an answer; some clients would try for a quarter of an hour.
_PATIENCE_S = 30.0
# File systems of folders that must be made; in the others a folder is a part of a name.
_WITH_FOLDERS = ("local", "hdfs")


class Place:
    """A folder behind a URI.

    Args:
        uri: its address.
        system: of pyarrow.
        base: the folder's path in it.
    """

    def __init__(self, uri: Uri, system: Any, base: str) -> None:
        self.uri, self._system, self._base = uri, system, base

    @classmethod
    def open(cls, uri: Uri, option: str = "--output") -> Place:
        """Find the file system of a URI.

        Raises:
            UserError: none knows it, it does not answer, or the URI names no folder.
        """
        from pyarrow.fs import FileSystem

        try:
            system, base = _patiently(lambda: FileSystem.from_uri(uri.whole))
        except FAILURES as error:
            if "Unrecognized filesystem type" in str(error):
                raise UserError(
                    f"{option} {uri}: no file system is known by this name; known are file, s3, gs, hdfs and abfs, "
                    "and a folder of this machine needs none"
                ) from None
            raise UserError(f"{option} {uri} cannot be reached ({reason(error)})") from error
        if not base.strip("/"):
            raise UserError(f"{option} {uri}: names no folder; add its path")
        return cls(uri, system, base.rstrip("/"))

    def files(self) -> dict[str, int]:
        """All files under the folder, by their path in it, with their sizes in bytes.

        Raises:
            UserError: it cannot be read.
        """
        from pyarrow.fs import FileSelector

        def listing() -> list[Any]:
            selector = FileSelector(self._base, recursive=True, allow_not_found=True)
            return list(self._system.get_file_info(selector))

        try:
            found = _patiently(listing)
        except FAILURES as error:
            raise UserError(f"{self.uri} cannot be read ({reason(error)})") from error
        inside = {posixpath.relpath(info.path, self._base): info.size for info in found if info.is_file}
        # A key of a bucket may hold anything, also steps out of the folder that it is to be copied to.
        return {name: int(size) for name, size in inside.items() if ".." not in PurePosixPath(name).parts}

    def is_file(self) -> bool:
        """Whether the URI names a file, not a folder.

        Raises:
            UserError: it cannot be read.
        """
        try:
            return bool(_patiently(lambda: self._system.get_file_info(self._base)).is_file)
        except FAILURES as error:
            raise UserError(f"{self.uri} cannot be read ({reason(error)})") from error

    def read(self, name: str = "") -> bytes:
        """The content of a file; without a name, of the one that the URI itself names.

        Raises:
            UserError: it cannot be read.
        """

        def content() -> bytes:
            with self._system.open_input_stream(self._path(name)) as stream:
                return bytes(stream.read())

        try:
            return content()
        except FAILURES as error:
            raise UserError(f"{posixpath.join(str(self.uri), name)} cannot be read ({reason(error)})") from error

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in one step where the file system can: objects of a bucket appear whole by themselves.

        Raises:
            OSError, ValueError, NotImplementedError: as the file system has it.
        """
        path = self._path(name)
        parent, last = posixpath.split(path)
        if self._system.type_name in _WITH_FOLDERS:
            self._system.create_dir(parent, recursive=True)
        whole = self._system.type_name == "local"
        written = posixpath.join(parent, f".{last}.{uuid.uuid4().hex[:8]}.tmp") if whole else path
        try:
            with self._system.open_output_stream(written) as stream:
                stream.write(content)
            if whole:
                self._system.move(written, path)
        except BaseException:
            if whole:
                self._remove(written)
            raise

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        self._remove(self._path(name))

    def check_writable(self, option: str = "--output") -> None:
        """Refuse early what cannot be written, by writing a file and removing it.

        Raises:
            UserError: in one sentence.
        """
        name = f".kdsearch-{uuid.uuid4().hex[:8]}.tmp"
        try:
            _patiently(lambda: self.write(name, b"kdsearch writes here\n"))
        except FAILURES as error:
            raise UserError(f"{option} {self.uri} cannot be written ({reason(error)})") from error
        self.remove(name)

    def _path(self, name: str) -> str:
        return posixpath.join(self._base, name) if name else self._base

    def _remove(self, path: str) -> None:
        try:
            self._system.delete_file(path)
        except FAILURES:  # it is not there, or stays: a file too many does no harm
            return


def reason(error: BaseException) -> str:
    """The first line of what a file system says, short and without secrets."""
    said = str(error).strip().splitlines() or [type(error).__name__]
    return without_secrets(said[0].rstrip("."))[:200]


def _patiently(call: Callable[[], T]) -> T:
    """What a call gives; an error if it gives nothing for long."""
    found: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(call())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="kdsearch-place", daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError(f"no answer for {_PATIENCE_S:.0f} s")
    return found[0]
