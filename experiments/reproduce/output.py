"""What stays in the output folder: each table as csv, md, tex and a picture, each figure, and the record of the run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.reproduce.contents import FIGURES, TABLES
from experiments.reproduce.plots import draw_table
from experiments.reproduce.settings import Settings
from experiments.reproduce.study import Study
from kdsearch import fingerprint
from kdsearch.data import Dataset
from kdsearch.errors import UserError
from kdsearch.results.files import read_json, write_json, write_text
from kdsearch.results.formats import render

__all__ = ["begin", "check_begun", "draw", "needed", "write"]

_RECORD = "run.json"
_FORMS = ("csv", "md", "tex")


def check_begun(output: Path, settings: Settings, dataset: Dataset) -> None:
    """With ``resume`` refuse another run than the one begun there; nothing is written.

    Raises:
        UserError: nothing was begun there, or it was another run.
    """
    if not settings.resume:
        return
    path = output / _RECORD
    if not path.exists():
        raise UserError(f"--resume: nothing was begun in {output}; leave --resume out, or name its --output")
    before = read_json(path, "the record of a run")
    for name, value in _told(settings, dataset).items():
        if before.get(name) != value:
            raise UserError(
                f"--resume: {output} was begun with {name} {before.get(name)}, not {value}; give it as it was, or "
                "leave --resume out to build other tables there"
            )


def begin(output: Path, settings: Settings, dataset: Dataset) -> None:
    """Write what the run is, before anything is trained.

    Raises:
        UserError: the folder cannot be written.
    """
    record = {"command": settings.command, "code": fingerprint.code(), "versions": fingerprint.versions()}
    write_json(output / _RECORD, {**_told(settings, dataset), **record})


def _told(settings: Settings, dataset: Dataset) -> dict[str, Any]:
    """What must agree for a run to be the same."""
    return {"dataset": dataset.name, "data": dataset.fingerprint, **settings.lengths()}


def write(study: Study, output: Path) -> list[Path]:
    """Build every table that was asked for, and the list of trainings; returns the files, in order.

    Raises:
        UserError: a file cannot be written.
    """
    files = []
    for number in study.settings.tables:
        item = TABLES[number]
        table = item.build(study)
        name = f"table{number}" if isinstance(number, int) else number
        for form in _FORMS:
            path = output / f"{name}.{form}"
            write_text(path, render([table], form))
            files.append(path)
        if item.tests is not None:
            path = output / f"{name}-tests.csv"
            write_text(path, item.tests(study))
            files.append(path)
        files.append(_save(draw_table(table, item.panels(study, table)), output / f"{name}.png", study))
    path = output / "trainings.csv"
    write_text(path, _trainings(study))
    return [*files, path]


def draw(study: Study, output: Path, say: Callable[[str], None]) -> list[Path]:
    """Draw every figure that was asked for; one that cannot be drawn yet is told of if nothing is to be trained.

    Raises:
        UserError: none of the networks of a figure is trained, or a file cannot be written.
    """
    files = []
    for number in study.settings.figures:
        name = f"figure{number}" if isinstance(number, int) else f"{number}-forecasts"
        try:
            figure = FIGURES[number].draw(study)
        except UserError as error:
            if not study.settings.show:
                raise
            say(f"not drawn: {error}")
            continue
        files.append(_save(figure, output / f"{name}.png", study))
    return files


def _trainings(study: Study) -> str:
    """Every training as CSV: row, seed, epoch, validation and test figures, seconds."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [f"{m}_{minutes}" for m in ("mae", "rmse", "mape") for minutes in study.dataset.horizons.values()]
    writer.writerow(
        ["training", "seed", "epoch", "epochs", "validation_score", *(f"test_{n}" for n in names), "seconds", "error"]
    )
    for key, record in study.records.items():
        figures = [record.test.get(name, "") for name in names]
        score = record.validation.get("score", "")
        numbers = [record.seed, record.epoch, record.epochs or "", score, *figures, round(record.seconds, 1)]
        writer.writerow([key, *numbers, record.error or ""])
    return out.getvalue()


def _save(figure: Any, path: Path, study: Study) -> Path:
    try:
        # No date and no version within: the same picture is the same file.
        figure.savefig(path, dpi=study.settings.dpi, metadata={"Software": None})
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from error
    return path


def needed(tables: Iterable[int | str], figures: Iterable[int | str], skip: Collection[str] = ()) -> Mapping[str, bool]:
    """Keys of the rows that are shown, and whether each must be trained.

    Raises:
        UserError: nothing is left of a table or figure.
    """
    found: dict[str, bool] = {}
    for option, numbers, items in (("tables", tables, TABLES), ("figures", figures, FIGURES)):
        for number in numbers:
            rows = [row.key for row in items[number].rows]
            if rows and set(rows) <= set(skip):
                raise UserError(f"--{option} {number}: --skip leaves none of its rows; leave the {option[:-1]} out too")
    for number in tables:
        for row in TABLES[number].rows:
            found[row.key] = found.get(row.key, False) or TABLES[number].trained
    for number in figures:
        found |= {row.key: True for row in FIGURES[number].rows}
    return {key: trained for key, trained in found.items() if key not in skip}
