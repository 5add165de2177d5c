"""What can be rebuilt: the tables and figures by number, each with the rows it shows and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from experiments.reproduce import figure3, figure4, shipping, table1, table4, table5, table6, table7, table8
from experiments.reproduce.errors import ErrorTable
from experiments.reproduce.hyperparameters import LOSSES, PRUNING, HyperparameterTable
from experiments.reproduce.plots import Panel
from experiments.reproduce.rows import ROWS, Row
from experiments.reproduce.study import Study
from kdsearch.results.formats import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "TABLES", "FigureItem", "TableItem"]


@dataclass(frozen=True)
class TableItem:
    """One table.

    Attributes:
        rows: that it shows.
        trained: whether they must be trained for it.
        build: makes it.
        panels: of its picture.
        tests: the tests behind it as CSV, if it has any.
    """

    rows: Sequence[Row]
    trained: bool
    build: Callable[[Study], Table]
    panels: Callable[[Study, Table], Sequence[Panel]]
    tests: Callable[[Study], str] | None = None


@dataclass(frozen=True)
class FigureItem:
    """One figure: the rows whose networks it shows, and what draws it."""

    rows: Sequence[Row]
    draw: Callable[[Study], Figure]


def _errors(table: ErrorTable) -> TableItem:
    return TableItem(table.rows, True, table.build, _maes, table.tests)


def _maes(study: Study, _: Table) -> list[Panel]:
    return [Panel(f"mae_{m}", f"MAE, {m} min ahead (mph)") for m in study.dataset.horizons.values()]


def _hyperparameters(table: HyperparameterTable) -> TableItem:
    return TableItem(table.rows, False, table.build, _values)


def _values(_: Study, table: Table) -> list[Panel]:
    """A panel for every hyperparameter that some row has."""
    others = {table.columns[0].key, "source"}
    shown = [c for c in table.columns if c.key not in others and any(row.get(c.key) is not None for row in table.rows)]
    shares = {"alpha", "beta", "alpha1", "alpha2", "alpha3"}
    return [
        Panel(
            c.key,
            c.heading,
            log=c.key in ("learning_rate", "weight"),
            limits=(-0.05, 1.05) if c.key in shares else None,
        )
        for c in shown
    ]


def _sizes(study: Study, _: Table) -> list[Panel]:
    return [
        Panel("parameters", "parameters", log=True),
        Panel("flops", "FLOPs of one window", log=True),
        Panel("mean_s", f"time of {study.settings.timing_batch} windows (s)", log=True),
    ]


def _attention(_study: Study, _table: Table) -> list[Panel]:
    return [Panel("attention", "readings for which the student follows the teacher (%)")]


TABLES: dict[int | str, TableItem] = {
    1: TableItem((), False, table1.build, _sizes),
    2: _hyperparameters(LOSSES),
    3: _hyperparameters(PRUNING),
    4: _errors(table4.TABLE),
    5: _errors(table5.TABLE),
    6: TableItem([ROWS[key] for key in table6.KEYS], True, table6.build, _attention),
    7: _errors(table7.TABLE),
    8: _errors(table8.TABLE),
    "shipping": TableItem(shipping.ROWS, True, shipping.build, _maes, shipping.tests),
}

FIGURES: dict[int | str, FigureItem] = {
    3: FigureItem([ROWS[key] for key in ("teacher", *figure3.KEYS)], figure3.draw),
    4: FigureItem([ROWS[key] for key in figure4.KEYS], partial(figure4.draw, keys=figure4.KEYS)),
    "shipping": FigureItem([ROWS[key] for key in figure4.SHIPPING], partial(figure4.draw, keys=figure4.SHIPPING)),
}
