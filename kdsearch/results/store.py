"""The store of best configurations behind Tables 2 and 3: one JSON file a dataset.

A result replaces another only if both have the same loss, pruning ratio, protocol and data, and its mean validation
score is lower. Results of another protocol or other data are kept beside it, never compared with it.

The folder is, in this order: the argument, ``KDSEARCH_STORE``, ``experiments/best`` of the working directory, that of
the checkout the package runs from, ``best`` in the user's data directory.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kdsearch.errors import UserError
from kdsearch.results.files import read_json, write_json
from kdsearch.results.result import SCHEMA, Result

__all__ = ["LOCK_SECONDS", "datasets", "folder", "path_of", "read", "update"]

LOCK_SECONDS = 60.0  # an update takes milliseconds; whoever holds the lock longer is stuck


def folder(given: Path | None = None) -> Path:
    """The folder of the store; it need not exist yet."""
    if given is not None:
        return given
    named = os.environ.get("KDSEARCH_STORE")
    if named:
        return Path(named)
    for root in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (root / "experiments" / "best").is_dir():
            return root / "experiments" / "best"
    import platformdirs

    return platformdirs.user_data_path("kdsearch", appauthor=False) / "best"


def path_of(dataset: str, store: Path | None = None) -> Path:
    """The file of a dataset; two names never share one."""
    return folder(store) / f"{quote(dataset, safe=' ')}.json"


def datasets(store: Path | None = None) -> list[str]:
    """Names of the datasets the store holds results of."""
    from urllib.parse import unquote

    return sorted(unquote(path.stem) for path in folder(store).glob("*.json"))


def read(dataset: str, store: Path | None = None) -> list[Result]:
    """All results of a dataset, an empty list where there are none.

    Raises:
        UserError: the file is damaged.
    """
    path = path_of(dataset, store)
    return [Result.read(entry, f"{path}: entry {i}") for i, entry in enumerate(_entries(path, dataset))]


def update(result: Result, store: Path | None = None) -> bool:
    """Put a result in the store if it is new there or better than what it competes with.

    Safe from several processes at once.

    Returns:
        Whether the store changed.

    Raises:
        UserError: the file is damaged (it is left as it is), the folder cannot be written, or the lock is stuck.
    """
    from filelock import FileLock, Timeout

    path = path_of(result.dataset, store)
    if not result.score < float("inf"):
        return False  # NaN or infinite: not a result to keep
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=LOCK_SECONDS):
            return _update(path, result)
    except Timeout as error:
        raise UserError(f"{path}: another process has held its lock for {LOCK_SECONDS:.0f} s") from error
    except OSError as error:
        raise UserError(
            f"{path}: the store of best configurations cannot be written ({error.strerror}); "
            "set KDSEARCH_STORE to a folder that can"
        ) from error


def _update(path: Path, result: Result) -> bool:
    kept: list[dict[str, Any]] = []
    for i, entry in enumerate(_entries(path, result.dataset)):
        other = Result.read(entry, f"{path}: entry {i}")
        if other.key != result.key:
            kept.append(entry)
        elif other.score <= result.score:
            return False
    kept.append({**result.document(), "stored": datetime.now(UTC).isoformat(timespec="seconds")})
    kept.sort(key=lambda e: (e["prune"] or 0, e["loss"], e["fingerprint"]["protocol"], str(e["fingerprint"])))
    write_json(path, {"schema": SCHEMA, "dataset": result.dataset, "entries": kept})
    return True


def _entries(path: Path, dataset: str) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    document = read_json(path, "a store of best configurations")
    entries = document.get("entries")
    if document.get("schema") != SCHEMA:
        raise UserError(
            f"{path}: has schema {document.get('schema')!r} and this version of kdsearch reads {SCHEMA}; move it away"
        )
    if document.get("dataset") != dataset:
        raise UserError(f"{path}: is damaged, it says it belongs to {document.get('dataset')!r}; mend or move it")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{path}: is damaged, its entries are not a list of objects; mend it or move it away")
    return entries
