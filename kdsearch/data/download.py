"""Published files: found in the data folder or downloaded into it, and always checked against their pinned id."""

from __future__ import annotations

import hashlib
import http.client
import os
import queue
import sys
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout
from platformdirs import user_cache_dir

from kdsearch.data.catalog import RemoteFile
from kdsearch.errors import UserError
from kdsearch.paths import home

__all__ = ["data_folder", "fetch", "git_blob_id"]

# Applies to connecting and to each pause between two pieces, not to the whole file.
_TIMEOUT_SECONDS = 6.0
# How long to wait for another process that downloads the same file.
_LOCK_SECONDS = 900.0
_CHUNK = 1 << 16


class _UnreachableError(Exception):
    """One address failed; the next may not."""


def data_folder(data_dir: str | Path | None = None) -> Path:
    """Where raw files lie: the argument, else ``KDSEARCH_DATA``, else the platform's cache folder."""
    given = data_dir if data_dir is not None else os.environ.get("KDSEARCH_DATA")
    return home(Path(given)) if given else Path(user_cache_dir("kdsearch", appauthor=False))


def git_blob_id(path: Path) -> str:
    """The id git gives the file: SHA-1 of its type and size, a zero byte, and its bytes."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def fetch(file: RemoteFile, dataset: str, data_dir: str | Path | None = None) -> Path:
    """The path of a published file, downloaded if it is not in the data folder.

    Raises:
        UserError: a file of that name lies there and is a different one, or it is absent and cannot be had.
    """
    folder = data_folder(data_dir)
    if found := _find(file, dataset, folder):
        return found
    target = folder / dataset / file.name
    stranger = " (the one there is a different file)" if os.path.isfile(folder / file.name) else ""
    missing = f"dataset {dataset!r} needs {file.name}, which is not in {folder}{stranger} or {target.parent}"
    mend = "put it there, say with --data-dir where it is, or try --dataset demo, which needs no file"
    lock = FileLock(target.parent / f".{file.name}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout as error:
        raise UserError(f"{missing}; another process is downloading it: wait for that one, or end it") from error
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{missing}, and that folder cannot be written to ({reason}): {mend}") from error
    try:
        # Another process may have brought it while this one waited.
        return _find(file, dataset, folder) or _download(file, target, f"{missing} and could not be downloaded", mend)
    finally:
        lock.release()


def _find(file: RemoteFile, dataset: str, folder: Path) -> Path | None:
    for name in (file.name, *file.aliases):
        for place in (folder / dataset / name, folder / name):
            if not os.path.isfile(place):
                continue
            try:
                same = git_blob_id(place) == file.blob
            except OSError as error:
                raise UserError(f"{place} cannot be read: {error.strerror or error}") from error
            if same:
                return place
            # A stranger of that name at the top of a shared folder is no claim to be this dataset.
            if place.parent.name == dataset:
                raise UserError(
                    f"{place} is not the published {file.name} of {dataset!r} (its git blob id is not {file.blob}): "
                    "remove it to have it downloaded, or declare your own data in a TOML file"
                )
    return None


def _download(file: RemoteFile, target: Path, failed: str, mend: str) -> Path:
    # Left by a process that was killed; the lock says that nobody writes them now.
    for leftover in target.parent.glob(f".{file.name}.*.part"):
        leftover.unlink(missing_ok=True)
    reasons: list[str] = []
    dead_hosts: set[str] = set()
    for url in file.urls:
        host = urllib.parse.urlsplit(url).netloc
        if host in dead_hosts:
            continue
        try:
            return _download_one(url, file, target)
        except _UnreachableError as error:
            reasons.append(f"from {url} ({error})")
            if isinstance(error.__cause__, (urllib.error.URLError, OSError)) and not isinstance(
                error.__cause__, urllib.error.HTTPError
            ):
                dead_hosts.add(host)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{target} cannot be written: {reason}; make room or name another --data-dir") from error
    raise UserError(f"{failed} {' or '.join(reasons)}: {mend}")


def _download_one(url: str, file: RemoteFile, target: Path) -> Path:
    """To a temporary file, checked, then renamed; nothing of a failed attempt stays."""
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".part", dir=target.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            expected = _receive(url, file, out)
        size = part.stat().st_size
        if expected is not None and size < expected:
            raise _UnreachableError(f"it broke off after {size} of {expected} bytes")
        if git_blob_id(part) != file.blob:
            raise _UnreachableError("what came is a different file: its checksum is not the pinned one, it was removed")
        if file.sha256 is not None and hashlib.sha256(part.read_bytes()).hexdigest() != file.sha256:
            raise _UnreachableError("what came is a different file: its SHA-256 is not the pinned one, it was removed")
        part.chmod(0o644)
        part.replace(target)
        return target
    finally:
        part.unlink(missing_ok=True)


def _open(url: str) -> http.client.HTTPResponse:
    """``urlopen`` that gives up in time: on its own it waits for every address of the host, and longer for names."""
    answer: queue.SimpleQueue[http.client.HTTPResponse | BaseException] = queue.SimpleQueue()
    given_up = threading.Event()

    def connect() -> None:
        try:
            response: http.client.HTTPResponse = urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS)
        except BaseException as error:
            answer.put(error)
            return
        answer.put(response)
        if given_up.is_set():
            response.close()

    threading.Thread(target=connect, daemon=True).start()
    try:
        got = answer.get(timeout=_TIMEOUT_SECONDS)
    except queue.Empty:
        given_up.set()
        raise TimeoutError(f"no answer within {_TIMEOUT_SECONDS:g} s") from None
    if isinstance(got, BaseException):
        raise got
    return got


def _receive(url: str, file: RemoteFile, out: IO[bytes]) -> int | None:
    """Copy a response to ``out``; returns the length that was announced."""
    try:
        response = _open(url)
    except urllib.error.HTTPError as error:
        error.close()
        raise _UnreachableError(f"the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _UnreachableError(f"not reachable: {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _UnreachableError(f"not reachable: {error}") from error
    with response:
        length = response.headers.get("Content-Length", "")
        expected = int(length) if length.isdecimal() else None
        with _progress(file.name, expected) as advance:
            received = 0
            while True:
                try:
                    piece = response.read(_CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    raise _UnreachableError(f"it broke off after {received} bytes: {error}") from error
                if not piece:
                    return expected
                received += len(piece)
                if received > file.limit:
                    raise _UnreachableError(f"it is larger than the {file.limit} bytes the file can have")
                out.write(piece)
                advance(len(piece))


@contextmanager
def _progress(name: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(f"downloading {name}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total)
        yield lambda n: bar.advance(task, n)
