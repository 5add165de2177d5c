"""The store of best configurations behind Tables 2 and 3: one JSON file a dataset.

A result replaces another only if both have the same loss, pruning ratio, protocol and data, and its mean validation
score is lower. Results of another protocol or other data are kept beside it, never compared with it.

Fronts of two objectives are kept in the same file under "fronts". There a new point joins those of the same loss,
network, protocol and data, and what another point beats in score and parameters goes.

The folder is, in this order: the argument, ``KDSEARCH_STORE``, ``experiments/best`` of the working directory, that of
the checkout the package runs from, ``best`` in the user's data directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kdsearch.atomic import parent_of
from kdsearch.errors import UserError
from kdsearch.paths import home
from kdsearch.results.files import read_json, write_json
from kdsearch.results.result import SCHEMA, Result
from kdsearch.search.front import pareto_front

__all__ = ["LOCK_SECONDS", "check", "datasets", "folder", "path_of", "read", "read_fronts", "update", "update_front"]

LOCK_SECONDS = 60.0  # an update takes milliseconds; whoever holds the lock longer is stuck


def folder(given: Path | None = None) -> Path:
    """The folder of the store; it need not exist yet."""
    if given is not None:
        return given
    named = os.environ.get("KDSEARCH_STORE")
    if named:
        return home(Path(named))
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


def check(dataset: str, store: Path | None = None) -> None:
    """Refuse a store that could take no result, as far as can be told without writing.

    Raises:
        UserError: its file of the dataset is damaged, or its folder cannot be written.
    """
    path = path_of(dataset, store)
    read(dataset, store)
    read_fronts(dataset, store)
    existing, writable = parent_of(path.parent)
    if not writable:
        raise UserError(
            f"{path}: the store of best configurations cannot be written: {existing} is "
            f"{'read-only' if existing.is_dir() else 'no folder'}; name another with --store or KDSEARCH_STORE"
        )


def read(dataset: str, store: Path | None = None) -> list[Result]:
    """All results of a dataset, an empty list where there are none.

    Raises:
        UserError: the file is damaged.
    """
    path = path_of(dataset, store)
    return [Result.read(entry, f"{path}: entry {i}") for i, entry in enumerate(_entries(path, dataset))]


def read_fronts(dataset: str, store: Path | None = None) -> list[Result]:
    """All points on the fronts of a dataset; arguments and errors as :func:`read`."""
    path = path_of(dataset, store)
    points = [point for front in _document(path, dataset).get("fronts", []) for point in front["points"]]
    return [Result.read(point, f"{path}: point {i} of a front") for i, point in enumerate(points)]


def update(result: Result, store: Path | None = None) -> bool:
    """Put a result in the store if it is new there or better than what it competes with.

    Safe from several processes at once.

    Returns:
        Whether the store changed.

    Raises:
        UserError: the file is damaged (it is left as it is), the folder cannot be written, or the lock is stuck.
    """
    if not result.score < float("inf"):
        return False  # NaN or infinite: not a result to keep
    return _locked(path_of(result.dataset, store), lambda path: _update(path, result))


def update_front(points: Sequence[Result], store: Path | None = None) -> bool:
    """Put the points of one search's front in the store; returns and errors as :func:`update`."""
    if not points:
        return False
    return _locked(path_of(points[0].dataset, store), lambda path: _update_front(path, points))


def _locked(path: Path, change: Callable[[Path], bool]) -> bool:
    """Change a file of the store while no other process does."""
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=LOCK_SECONDS):
            return change(path)
    except Timeout as error:
        raise UserError(f"{path}: another process has held its lock for {LOCK_SECONDS:.0f} s") from error
    except OSError as error:
        raise UserError(
            f"{path}: the store of best configurations cannot be written ({error.strerror}); "
            "name another with --store or KDSEARCH_STORE"
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
    _write(path, result.dataset, entries=kept)
    return True


def _update_front(path: Path, points: Sequence[Result]) -> bool:
    first = points[0]
    key = {"loss": first.loss, "teacher": first.teacher.get("fingerprint"), **_front_identity(first)}
    fronts = list(_document(path, first.dataset).get("fronts", []))
    before: list[dict[str, Any]] = next((f["points"] for f in fronts if f["key"] == key), [])
    stamp = datetime.now(UTC).isoformat(timespec="seconds")
    new = [{**point.document(), "stored": stamp} for point in points]
    after = pareto_front([*before, *new], lambda p: (p["validation"]["score"]["mean"], float(p["n_parameters"])))
    if after == before:
        return False
    _write(path, first.dataset, fronts=[*(f for f in fronts if f["key"] != key), {"key": key, "points": after}])
    return True


def _front_identity(point: Result) -> dict[str, Any]:
    """What must agree for points to compete, whatever their percent."""
    return {"data": point.fingerprint.get("data"), "protocol": point.fingerprint.get("front")}


def _write(path: Path, dataset: str, **changed: Any) -> None:
    """Write a file of the store with one of its parts changed."""
    kept = {name: value for name, value in _document(path, dataset).items() if name in ("entries", "fronts")}
    write_json(path, {"schema": SCHEMA, "dataset": dataset, "entries": [], **kept, **changed})


def _entries(path: Path, dataset: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = _document(path, dataset).get("entries", [])
    return entries


def _document(path: Path, dataset: str) -> dict[str, Any]:
    """A file of the store, checked; empty where there is none."""
    if not path.exists():
        return {}
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
    fronts = document.get("fronts", [])
    if not isinstance(fronts, list) or not all(isinstance(f, dict) and {"key", "points"} <= set(f) for f in fronts):
        raise UserError(f"{path}: is damaged, its fronts are not a list of objects; mend it or move it away")
    return document
