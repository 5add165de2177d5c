"""Whether a student is worth shipping: both recipes, without KD, told by one teacher, and by the mean of several.

Not a table of the paper. Every student is compared with the one that has no KD, and the best by its validation score
with copy-last and with the best single teacher.
"""

from __future__ import annotations

import csv
import io
import statistics

from experiments.reproduce import rows as all_rows
from experiments.reproduce.plots import look_of
from experiments.reproduce.rows import Row, short
from experiments.reproduce.study import Study, figure_of
from kdsearch.results.formats import Cell, Column, Table, whole
from kdsearch.results.significance import Sample, p_value

__all__ = ["PAIRS", "ROWS", "build", "tests"]

ROWS: tuple[Row, ...] = tuple(
    all_rows.ROWS[key]
    for key in (
        *("copy_last", "ridge_ar", "teacher", "best-teacher", "best-mean"),
        *("none", "stcd", "best-none", "best-stcd", "best-stcd-mean"),
    )
)
# What a student must beat, over the same seeds.
PAIRS = (("best-none", "none"), ("stcd", "none"), ("best-stcd", "best-none"), ("best-stcd-mean", "best-none"))


def build(study: Study) -> Table:
    """The table."""
    maes = [f"mae_{minutes}" for minutes in study.dataset.horizons.values()]
    cells: list[dict[str, Cell]] = []
    for row in filter(study.finished, ROWS):
        records = [record for record in study.records_of(row) if not record.error]
        line: dict[str, Cell] = {"models": row.label, "look": look_of(row)}
        line["parameters"] = records[0].n_parameters if records else None
        line["seeds"] = len(records) if row.kind not in ("classical", "mean") else None
        line["score"] = figure_of([record.validation["score"] for record in records])
        line |= {name: study.figure(row, name) for name in maes}
        line["seconds"] = statistics.fmean(record.seconds for record in records) if records else None
        cells.append(line)
    columns = (
        Column("models", "Models"),
        Column("parameters", "Parameters", number=whole),
        Column("seeds", "Seeds", number=whole),
        Column("score", "Validation score", figure=True),
        *(Column(name, f"Test MAE {name.removeprefix('mae_')} min", figure=True) for name in maes),
        Column("seconds", "Training, s", number=lambda value: f"{value:.0f}"),
    )
    title = "Is the student worth shipping? Errors in mph"
    return Table("shipping", title, study.heading, columns, cells, _notes(study))


def tests(study: Study) -> str:
    """The paired tests as CSV: the mean MAE of all horizons (mph) on the test days, over the seeds, two-sided."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["row", "against", "seeds", "gain", "p"])
    for ours, theirs, gain, p in _compared(study):
        writer.writerow([ours.key, theirs.key, study.settings.seeds, gain, "" if p is None else p])
    return out.getvalue()


def _compared(study: Study) -> list[tuple[Row, Row, float, float | None]]:
    """Of each pair what the first gains by the mean, and how often luck would do as much."""
    found = []
    for ours, theirs in (tuple(all_rows.ROWS[key] for key in pair) for pair in PAIRS):
        a, b = _mean_maes(study, ours), _mean_maes(study, theirs)
        if a.values and b.values:
            found.append((ours, theirs, b.mean - a.mean, p_value(a, b)))
    return found


def _mean_maes(study: Study, row: Row) -> Sample:
    """By seed; empty where the row has no result."""
    if not study.trained(row):
        return Sample((), row.seeded)
    samples = [study.sample(row, f"mae_{minutes}").values for minutes in study.dataset.horizons.values()]
    return Sample([statistics.fmean(values) for values in zip(*samples, strict=True)], row.seeded)


def _notes(study: Study) -> list[str]:
    n = study.settings.seeds
    notes = [f"Mean ± deviation over {n} seed{'s' if n > 1 else ''}, of teachers over theirs."]
    for ours, theirs, gain, p in _compared(study):
        verdict = "one seed, no test" if p is None else f"p = {p:.3f}"
        names = f"{short(ours.label).plain} against {short(theirs.label).plain}"
        notes.append(
            f"{names}: {gain:+.3f} mph of test MAE gained, mean of the horizons, {verdict} (two-sided t-test, paired "
            "over the seeds)."
        )
    best = _best_student(study)
    return notes if best is None else [*notes, best]


def _best_student(study: Study) -> str | None:
    """The student with the best validation score, against copy-last and the best single teacher by validation."""
    students = [row for row in ROWS if row.kind == "student" and study.trained(row)]
    if not students:
        return None
    chosen = min(students, key=lambda row: _score(study, row))
    maes = [f"mae_{minutes}" for minutes in study.dataset.horizons.values()]
    told = f"Best student by validation: {short(chosen.label).plain}"
    last = all_rows.ROWS["copy_last"]
    if study.trained(last):
        gains = [100 * (1 - study.figure(chosen, name).mean / study.figure(last, name).mean) for name in maes]
        told += f", below copy-last by {' / '.join(f'{gain:.1f}' for gain in gains)}%"
    teachers = [r for row in ROWS if row.kind == "teacher" and study.trained(row) for r in study.records_of(row)]
    if teachers:
        best = min((r for r in teachers if not r.error), key=lambda r: r.validation["score"])
        ratios = [study.figure(chosen, name).mean / best.test[name] for name in maes]
        told += f", {' / '.join(f'{ratio:.3f}' for ratio in ratios)} times the MAE of the best single teacher"
    return told + "."


def _score(study: Study, row: Row) -> float:
    return statistics.fmean(r.validation["score"] for r in study.records_of(row) if not r.error)
