"""Which files of a search travel, and how a folder of this machine is brought to where its copy is.

The journal is the record of truth, and a file that is only appended to. So of two copies of a search, the one whose
journal begins with the other's has gone further. Of two that went different ways, that behind the URI counts: it is the
one that others have seen. Two with the same journal may have confirmed different configurations: then both count.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from kdsearch.atomic import atomic_write, is_unfinished
from kdsearch.contents import CONFIRMATION, JOURNAL, LOCK
from kdsearch.errors import UserError
from kdsearch.remote.place import Place

__all__ = ["NETWORKS", "WRITER", "bring", "bring_networks", "results_of", "travels", "walk"]

# Who writes behind the URI, see kdsearch.remote.writer.
WRITER = ".writer"
# Behind a URI, a search's teachers and students without KD, which are kept in the cache here.
NETWORKS = "networks"
# Ray Tune's own, of no use to a later run.
_OTHERS = (".tune",)


def travels(name: str) -> bool:
    """Whether a file is of the search itself: no lock, nothing half written, nothing of Ray's."""
    path = PurePosixPath(name)
    return path.parts[0] not in (LOCK, WRITER, *_OTHERS) and path.suffix != ".lock" and not is_unfinished(path.name)


def results_of(names: Iterable[str]) -> list[str]:
    """Of the files behind a URI those that lie in a search's folder here: all that travel but the cache's networks."""
    return [name for name in names if travels(name) and PurePosixPath(name).parts[0] != NETWORKS]


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The files of a folder that travel, by their path in it."""
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            path = Path(parent, file)
            name = path.relative_to(folder).as_posix()
            if travels(name):
                with contextlib.suppress(FileNotFoundError):  # gone since
                    yield name, path.stat()


def bring(place: Place, folder: Path, resume: bool) -> None:
    """Make a folder, whose lock is held, hold the search behind a URI where it has not gone further already.

    Raises:
        UserError: a search is there and is not to be resumed; it cannot be read, or the folder cannot be written.
    """
    theirs = place.files()
    journal = folder / JOURNAL
    mine = journal.read_bytes() if journal.is_file() else b""
    if not resume and (JOURNAL in theirs or mine):
        here = "" if JOURNAL in theirs else f" (what was not copied there yet is in {folder})"
        raise UserError(f"{place.uri} already holds a search{here}: carry on with --resume, or give another --output")
    names = results_of(theirs)
    if JOURNAL not in theirs:
        return
    begun = place.read(JOURNAL)
    if mine == begun:
        _complete(place, folder, names)
    if mine.startswith(begun):
        return
    _clear(folder)
    names.sort(key=lambda name: name == JOURNAL)  # last: what is brought in part is no search
    for name in names:
        _keep(folder / name, place.read(name))


def bring_networks(place: Place, cache: Path, names: Iterable[str], also: str = "") -> None:
    """Fill a cache with trained networks, or beginnings of them, that it lacks and that lie behind a URI.

    Args:
        place: behind the URI.
        cache: folder of this machine.
        names: of their files.
        also: how the names begin of more that are wanted if they are there; empty for no more.

    Raises:
        UserError: one cannot be read, or the cache cannot be written.
    """
    there = place.files()
    found = [PurePosixPath(name).with_suffix(".pt") for name in there if also and name.startswith(f"{NETWORKS}/{also}")]
    for name in dict.fromkeys([*names, *(path.name for path in found)]):
        path = cache / name
        for file in (path, path.with_suffix(".partial")):
            remote = f"{NETWORKS}/{file.name}"
            if remote in there and not path.exists() and not file.exists():
                _keep(file, place.read(remote))


def _complete(place: Place, folder: Path, names: Iterable[str]) -> None:
    """Add what was confirmed elsewhere after the last trial: the journal does not tell of it."""
    for name in names:
        if not (folder / name).exists():
            _keep(folder / name, place.read(name))
        elif name == CONFIRMATION:
            with contextlib.suppress(ValueError, TypeError):  # whichever is damaged: what is here counts
                both = json.loads(place.read(name)) | json.loads((folder / name).read_bytes())
                _keep(folder / name, json.dumps(both, indent=1).encode())


def _clear(folder: Path) -> None:
    (folder / JOURNAL).unlink(missing_ok=True)  # first: what is cleared in part is no search
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name not in (LOCK, WRITER):
            entry.unlink()


def _keep(path: Path, content: bytes) -> None:
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from error
