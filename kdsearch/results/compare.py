"""Searches side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from kdsearch.results.formats import Cell, Column, Table, render, scientific, shown, whole
from kdsearch.results.page.reading import Search, read_search
from kdsearch.results.page.words import begun_with
from kdsearch.results.result import Figure

__all__ = ["compare", "records"]

# Property, heading, how a number is printed. Hyperparameters, as they are called, come after "best score".
_HEAD = (
    Column("dataset", "dataset"),
    Column("loss", "loss"),
    Column("pruned", "pruned (%)", number=whole),
    Column("data", "data"),
    Column("protocol", "protocol"),
    Column("begun_with", "begun with"),
    Column("state", "state"),
    Column("trials", "trials", number=whole),
    Column("complete", "run to the end", number=whole),
    Column("stopped", "stopped early", number=whole),
    Column("failed", "failed", number=whole),
    Column("epochs", "epochs in all", number=whole),
    Column("seconds", "training in all (s)", number=whole),
    Column("best_trial", "best trial", number=whole),
    Column("best_score", "its score in the search (mph)"),
)
_TAIL = (
    Column("parameters", "parameters", number=whole),
    Column("seeds", "seeds of the confirmation", number=whole),
    Column("score", "confirmed score (mph)", figure=True),
)


def compare(folders: Sequence[Path], form: str) -> tuple[str, list[str]]:
    """Searches as text.

    Args:
        folders: of the searches, in the order they are shown.
        form: ``"text"`` or ``"md"``, a column a search; ``"csv"``, a row a search with every digit.

    Returns:
        The text, and what a reader should know when comparing them.

    Raises:
        UserError: a folder holds no search, or a file in it is damaged.
    """
    searches = [read_search(folder) for folder in folders]
    names = _names(folders)
    found = [{"search": name, **record} for name, record in zip(names, records(searches), strict=True)]
    columns = _columns(found)
    if form == "csv":
        table = Table("compare", "Searches", "", (Column("search", "search"), *columns), list(found))
        text = render([table], "csv")
        # The table's own column for a dataset is of no use here: every search names its own.
        return "\n".join(line.partition(",")[2] for line in text.splitlines()) + "\n", _notes(found)
    grid = [["", *names]]
    for column in columns:
        grid.append([column.heading, *(shown(record.get(column.key), column, "±", str) for record in found)])
    return (_markdown(grid) if form == "md" else _text(grid)), _notes(found)


def records(searches: Sequence[Search]) -> list[dict[str, Cell]]:
    """The properties of each search, by the keys of the columns; what a search does not have is left out."""
    return [_record(search) for search in searches]


def _record(search: Search) -> dict[str, Cell]:
    setup, result = search.setup, search.result
    prune = setup.get("prune")
    record: dict[str, Cell] = {
        "dataset": str(setup.get("dataset", "?")),
        "loss": str(setup.get("loss", "?")),
        "pruned": _number(prune),
        "data": str(setup["data"])[:8] if "data" in setup else None,
        "protocol": None if result is None else str(result.fingerprint["protocol"])[:8],
        "state": "finished" if result is not None else "not finished",
        "trials": len(search.trials),
        "complete": search.count("COMPLETE"),
        "stopped": search.count("PRUNED"),
        "failed": search.count("FAIL"),
        "epochs": sum(t.epochs for t in search.trials),
        "seconds": round(math.fsum(t.seconds for t in search.trials if math.isfinite(t.seconds))),
        "best_trial": search.winner,
    }
    warm = setup.get("warm_start")
    if warm:
        record["begun_with"] = begun_with(str(warm["source"]), len(warm["points"]), len(warm["prior"]))
    best = next((t for t in search.trials if t.number == search.winner), None)
    if best is not None:
        record["best_score"] = best.score
        record |= {f"params.{name}": value for name, value in best.params.items()}
    if result is not None:
        record |= {f"params.{name}": value for name, value in result.params.items()}
        record |= {"parameters": result.n_parameters, "seeds": len(result.seeds), "score": result.validation["score"]}
        record |= {name: figure for name, figure in result.test.items() if name.startswith("mae_")}
    return record


def _number(value: object) -> Cell:
    """A percent; the text as it is where the percent itself was searched."""
    try:
        return None if value is None else float(str(value))
    except ValueError:
        return str(value)


def _columns(found: Sequence[Mapping[str, Cell]]) -> list[Column]:
    keys = list(dict.fromkeys(key for record in found for key, cell in record.items() if cell is not None))
    params = [
        Column(key, key.removeprefix("params."), number=scientific if key == "params.learning_rate" else _digits)
        for key in keys
        if key.startswith("params.")
    ]
    errors = [
        Column(key, f"test MAE {key[4:]} min (mph)", figure=True)
        for key in sorted((k for k in keys if k.startswith("mae_")), key=lambda k: int(k[4:]))
    ]
    return [c for c in (*_HEAD, *params, *_TAIL, *errors) if c.key in keys]


def _digits(value: float) -> str:
    return f"{value:.4g}"


def _names(folders: Sequence[Path]) -> list[str]:
    """The last parts of the folders, as many as it takes to tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-count:]) for p in parts]
        if len(set(names)) == len(set(parts)):
            return names
    return [str(folder) for folder in folders]


def _notes(found: Sequence[Mapping[str, Cell]]) -> list[str]:
    """What does not compare, and what is lowest where it does."""
    notes = []
    if len({record.get("data") for record in found}) > 1:
        notes.append("the searches are of different data: their errors do not compare")
    elif len({record.get("protocol") for record in found if record.get("protocol")}) > 1:
        notes.append("the searches were confirmed under different protocols: compare their errors with care")
    else:
        scored = [(r["score"], r["search"]) for r in found if isinstance(r.get("score"), Figure)]
        finite = [(s.mean, name) for s, name in scored if isinstance(s, Figure) and math.isfinite(s.mean)]
        if len(finite) > 1:
            notes.append(f"lowest confirmed validation score: {min(finite)[1]}")
    unfinished = [str(r["search"]) for r in found if r["state"] != "finished"]
    if unfinished:
        notes.append(f"not finished: {', '.join(unfinished)}")
    return notes


def _text(grid: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
    lines = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in grid]
    return "\n".join(lines) + "\n"


def _markdown(grid: Sequence[Sequence[str]]) -> str:
    from kdsearch.results.formats import escape_markdown

    rows = [[escape_markdown(cell) for cell in line] for line in grid]
    rows.insert(1, ["---", *("--:" for _ in grid[0][1:])])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
