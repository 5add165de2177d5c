"""Means, deviations and paired tests of what was trained, as table and JSON."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.reproduce.significance import Sample, p_value
from experiments.students.rows import ROWS
from experiments.students.study import Found, Setup
from kdsearch.errors import UserError
from kdsearch.results.files import write_json, write_text
from kdsearch.results.formats import Cell, Column, Table, render, whole
from kdsearch.results.result import Figure

__all__ = ["better", "summary", "write"]

_LABELS = {row.name: row.label for row in ROWS}
# What a student must beat, over the same seeds.
_PAIRS = (
    ("none_best", "none"),
    ("stcd", "none"),
    ("stcd_best", "none_best"),
    ("stcd_ensemble", "none_best"),
)
_TEACHERS = ("teacher", "teacher_best")


def better(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float | None]:
    """What ours gain by the mean, and the chance of as large a difference if there were none (paired, two-sided)."""
    gain = statistics.fmean(b - a for a, b in zip(ours, theirs, strict=True))
    return {"gain": gain, "p": p_value(Sample(ours), Sample(theirs))}


def summary(found: Found) -> dict[str, Any]:
    """Rows with their figures, the paired tests, and what the best student is against what it should beat.

    Raises:
        UserError: nothing was found.
    """
    rows = {name: _row(list(runs.values())) for name, runs in found.items() if runs}
    if not rows:
        raise UserError("the cache holds none of these runs: leave --table out to train them")
    maes = [name for name in next(iter(rows.values()))["test"] if name.startswith("mae_")]
    tests = []
    for ours, theirs in _PAIRS:
        seeds = sorted(set(found.get(ours, {})) & set(found.get(theirs, {})))
        if seeds:
            sides = [[_mean_mae(found[name][seed]["test"]) for seed in seeds] for name in (ours, theirs)]
            tests.append({"ours": ours, "theirs": theirs, "seeds": seeds, **better(*sides)})
    return {"rows": rows, "tests": tests, "best_student": _best_student(rows, found, maes)}


def _row(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    parts = {
        part: {key: _figure([run[part][key] for run in runs]) for key in runs[0][part]}
        for part in ("validation", "test")
    }
    return {
        **parts,
        "parameters": runs[0].get("parameters"),
        "seconds": statistics.fmean(run["seconds"] for run in runs),
        "runs": len(runs),
    }


def _figure(values: Sequence[float]) -> dict[str, float | None]:
    return Figure(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None).document()


def _mean_mae(figures: Mapping[str, float]) -> float:
    return statistics.fmean(value for key, value in figures.items() if key.startswith("mae_"))


def _best_student(rows: Mapping[str, Any], found: Found, maes: Sequence[str]) -> dict[str, Any] | None:
    """The student with the best validation score, against the best single teacher by validation, and copy-last."""
    students = [name for name in rows if name not in (*_TEACHERS, "ensemble", "copy_last", "ridge_ar")]
    if not students:
        return None
    chosen = min(students, key=lambda name: rows[name]["validation"]["score"]["mean"])
    test = {key: rows[chosen]["test"][key]["mean"] for key in maes}
    told: dict[str, Any] = {"row": chosen}
    if "copy_last" in rows:
        told["below_copy_last_percent"] = {
            key: 100 * (1 - test[key] / rows["copy_last"]["test"][key]["mean"]) for key in maes
        }
    teachers = [run for name in _TEACHERS for run in found.get(name, {}).values()]
    if teachers:
        best = min(teachers, key=lambda run: run["validation"]["score"])
        told["over_best_teacher"] = {key: test[key] / best["test"][key] for key in maes}
    return told


def write(setup: Setup, found: Found, output: Path) -> str:
    """Write ``table.md``, ``table.csv``, ``table.tex`` and ``summary.json``; the table and what it says, as text."""
    told = summary(found)
    table = _table(setup, told["rows"])
    output.mkdir(parents=True, exist_ok=True)
    said = _said(told)
    for form in ("csv", "tex"):
        write_text(output / f"table.{form}", render([table], form))
    text = f"{render([table], 'md')}\n{said}"
    write_text(output / "table.md", text)
    write_json(output / "summary.json", {**told, "setup": _plain(setup), "per_seed": found})
    return text


def _plain(setup: Setup) -> dict[str, Any]:
    kept = ("name", "epochs", "teachers", "seeds", "run_length", "rate")
    return {**{name: getattr(setup, name) for name in kept}, "params": {k: dict(v) for k, v in setup.params.items()}}


def _table(setup: Setup, rows: Mapping[str, Any]) -> Table:
    columns = [
        Column("models", "Models"),
        Column("parameters", "Parameters", number=whole),
        Column("runs", "Seeds", number=whole),
    ]
    columns.append(Column("validation", "Validation score", figure=True))
    keys = [key for key in next(iter(rows.values()))["test"] if key.startswith("mae_")]
    columns += [Column(key, f"Test MAE {key.removeprefix('mae_')} min", figure=True) for key in keys]
    columns.append(Column("seconds", "Training, s", number=lambda value: f"{value:.0f}"))
    cells: list[dict[str, Cell]] = []
    for name, row in rows.items():
        figures = {key: Figure.read(row["test"][key], key) for key in keys}
        validation = Figure.read(row["validation"]["score"], "score")
        first: dict[str, Cell] = {"models": _LABELS[name], "parameters": row["parameters"], "runs": row["runs"]}
        cells.append({**first, "validation": validation, **figures, "seconds": row["seconds"]})
    return Table("shipping", "Is the student worth shipping? Errors in mph", setup.name, columns, cells)


def _said(told: Mapping[str, Any]) -> str:
    lines = []
    for test in told["tests"]:
        verdict = "one seed, no test" if test["p"] is None else f"p = {test['p']:.3f}"
        lines.append(
            f"- {_LABELS[test['ours']]} against {_LABELS[test['theirs']]}: {test['gain']:+.3f} mph of test MAE gained, "
            f"mean of the horizons, {verdict} (paired over {len(test['seeds'])} seeds, two-sided t-test)"
        )
    best = told["best_student"]
    if best is not None:
        what = [f"best student by validation: {_LABELS[best['row']]}"]
        if "below_copy_last_percent" in best:
            gains = " / ".join(f"{value:.1f}" for value in best["below_copy_last_percent"].values())
            what.append(f"below copy-last by {gains}%")
        if "over_best_teacher" in best:
            ratios = " / ".join(f"{value:.3f}" for value in best["over_best_teacher"].values())
            what.append(f"{ratios} times the MAE of the best single teacher")
        lines.append("- " + ", ".join(what))
    return "\n".join(lines) + "\n"
