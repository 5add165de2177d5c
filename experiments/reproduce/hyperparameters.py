"""Tables of hyperparameters (2 and 3): what each loss and each pruning was run with, and where that is from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.reproduce.plots import look_of
from experiments.reproduce.rows import ROWS, Row
from experiments.reproduce.study import Study
from kdsearch.results import paper
from kdsearch.results.formats import Cell, Column, Table
from kdsearch.results.tables import TABLE2, TABLE3, further_columns
from kdsearch.training.recipe import PAPER

__all__ = ["LOSSES", "PRUNING", "HyperparameterTable"]


@dataclass(frozen=True)
class HyperparameterTable:
    """What one of these tables declares.

    Attributes:
        number: of the table.
        title: what it shows.
        rows: in order; ours, which the paper does not have, last.
        columns: the paper's, the first of which names the row.
    """

    number: int
    title: str
    rows: tuple[Row, ...]
    columns: Sequence[Column]

    def build(self, study: Study) -> Table:
        """The table."""
        name = self.columns[0].key
        rows: list[dict[str, Cell]] = []
        told = []
        for row in (row for row in self.rows if study.has(row)):
            params = study.params(row)
            told.append(params.values)
            label: Cell = row.prune if name == "pruned" else row.label
            source = params.source
            if name == "pruned" and row.recipe != PAPER:  # a percent does not say so
                source += "; best recipe, not in the paper"
            rows.append({name: label, **params.values, "source": source, "look": look_of(row)})
            published = paper.hyperparameters(study.dataset.name, row.loss, row.prune)
            if published is not None and row.recipe == PAPER:
                rows.append({name: label, **published, "source": "paper"})
        columns = (*self.columns, *further_columns(told, self.columns), Column("source", "Source"))
        title = f"Table {self.number}, {self.title}"
        return Table(f"table{self.number}", title, study.heading, columns, rows)


_LOSSES = ("rd_l2", "rd_kl", "skd", "ord", "tcd", "scd", "stcd", "fitnet", "at", "nst", "best-stcd")
_PRUNING = ("kdis-97", "kdis-75", "kdis-50", "kdis-25", "best-kdis-97", "best-kdis-75")
LOSSES = HyperparameterTable(2, "hyperparameters of the losses", tuple(ROWS[key] for key in _LOSSES), TABLE2)
PRUNING = HyperparameterTable(3, "hyperparameters of pruning", tuple(ROWS[key] for key in _PRUNING), TABLE3)
