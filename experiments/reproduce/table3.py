"""Table 3: the hyperparameters that each pruning was run with, and where they are from."""

from __future__ import annotations

from experiments.reproduce.plots import look_of
from experiments.reproduce.rows import ROWS
from experiments.reproduce.study import Study
from kdsearch.results import paper
from kdsearch.results.formats import Cell, Column, Table
from kdsearch.results.tables import TABLE3, further_columns

KEYS = ("kdis-97", "kdis-75", "kdis-50", "kdis-25", "best-kdis-97", "best-kdis-75")


def build(study: Study) -> Table:
    """The table."""
    rows: list[dict[str, Cell]] = []
    told = []
    for row in (ROWS[key] for key in KEYS if study.has(ROWS[key])):
        params = study.params(row)
        told.append(params.values)
        source = params.source if row.recipe == "paper" else f"{params.source}; best recipe, not in the paper"
        rows.append({"pruned": row.prune, **params.values, "source": source, "look": look_of(row)})
        published = paper.hyperparameters(study.dataset.name, row.loss, row.prune)
        if published is not None and row.recipe == "paper":
            rows.append({"pruned": row.prune, **published, "source": "paper"})
    columns = (*TABLE3, *further_columns(told, TABLE3), Column("source", "Source"))
    return Table("table3", "Table 3, hyperparameters of pruning", study.heading, columns, rows)
