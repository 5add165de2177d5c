"""``best.json``, the answer of a search: written once at its end, read by export, train and the report."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from kdsearch.contents import BEST, JOURNAL
from kdsearch.errors import UserError
from kdsearch.results.files import read_json, write_json
from kdsearch.results.result import SCHEMA, Result

__all__ = ["dataset_of", "find", "read_best", "read_result", "write_best"]


def read_best(path: Path) -> dict[str, Any]:
    """The whole document, checked.

    Args:
        path: a best.json, or the search folder that holds one.

    Raises:
        UserError: the search has not finished, or the file is unreadable, of another schema, or lacks a key.
    """
    path = _file(path)
    document = read_json(path, "the result of a search")
    if document.get("schema") != SCHEMA:
        raise UserError(
            f"{path}: has schema {document.get('schema')!r} and this version of kdsearch reads {SCHEMA}; "
            "run the search again with --resume to write it anew"
        )
    Result.read(document, str(path))
    if not isinstance(document.get("per_seed", []), list):
        raise UserError(f"{path}: is damaged, per_seed is {document['per_seed']!r}")
    # JSON has no NaN: a figure that could not be measured was written as null.
    for run in document.get("per_seed", []):
        for part in ("validation", "test"):
            if not isinstance(run, dict) or not isinstance(run.get(part, {}), dict):
                raise UserError(f"{path}: is damaged, per_seed holds {run!r}")
            if part in run:
                run[part] = {name: math.nan if value is None else value for name, value in run[part].items()}
    return document


def read_result(path: Path) -> Result:
    """What tables and the store need of a best.json; arguments and errors as `read_best`."""
    return Result.read(read_best(path), str(path))


def write_best(path: Path, document: dict[str, Any]) -> None:
    """Write a best.json in one step (temporary file, fsync, rename).

    Raises:
        ValueError: the document is not of schema 1: a defect of the caller, found before anything is written.
        UserError: the folder cannot be written.
    """
    try:
        if document.get("schema") != SCHEMA:
            raise ValueError(f"schema must be {SCHEMA}, got {document.get('schema')!r}")
        Result.read(document, path.name)
    except UserError as error:
        raise ValueError(str(error)) from error
    write_json(path, document)


def find(path: Path) -> list[Path]:
    """The results under a path: the file itself, that of a search folder, or those of a folder of searches.

    Raises:
        UserError: there is none; the message says how to finish a search that was left half way.
    """
    if path.is_dir() and not (path / BEST).exists():
        inside = sorted(path.glob(f"*/{BEST}"))
        if inside:
            return inside
    return [_file(path)]


def dataset_of(document: Mapping[str, Any], where: object) -> str:
    """What ``--dataset`` is where it is left out: a known name, or the TOML file that the search's command names.

    Args:
        document: of a best.json.
        where: its place, as the error names it.

    Raises:
        UserError: the dataset is the user's own, and the file that declared it is not where it was.
    """
    from kdsearch.data.catalog import KNOWN  # numpy, which tables need not wait for

    name = str(document["dataset"])
    if name in KNOWN:
        return name
    try:
        words = shlex.split(str(document.get("command", "")))
    except ValueError:
        words = []
    named = [after for word, after in pairwise(words) if word == "--dataset"]
    named += [word.removeprefix("--dataset=") for word in words if word.startswith("--dataset=")]
    for path in map(Path, named):
        if path.suffix == ".toml" and path.is_file():
            return str(path)
    raise UserError(f"{where} is of a search on {name}: say with --dataset which TOML file declares it")


def _file(path: Path) -> Path:
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder; name a best.json, or the --output of a search")
    if not path.is_dir():
        return path
    if (path / BEST).exists():
        return path / BEST
    if (path / JOURNAL).exists():
        raise UserError(
            f"{path}: its search has not finished; run it again with the same arguments and --resume "
            f"(python -m kdsearch.tune ... --output {path} --resume)"
        )
    raise UserError(f"{path}: holds no search (no {BEST}, no {JOURNAL}); name the --output of a search")
