"""Table 2: the hyperparameters that each loss was trained with, and where they are from."""

from __future__ import annotations

from experiments.reproduce.plots import look_of
from experiments.reproduce.rows import ROWS
from experiments.reproduce.study import Study
from kdsearch.results import paper
from kdsearch.results.formats import Cell, Column, Table
from kdsearch.results.tables import TABLE2, further_columns

KEYS = ("rd_l2", "rd_kl", "skd", "ord", "tcd", "scd", "stcd", "fitnet", "at", "nst", "best-stcd")


def build(study: Study) -> Table:
    """The table."""
    rows: list[dict[str, Cell]] = []
    told = []
    for row in (ROWS[key] for key in KEYS if study.has(ROWS[key])):
        params = study.params(row)
        told.append(params.values)
        rows.append({"models": row.label, **params.values, "source": params.source, "look": look_of(row)})
        published = paper.hyperparameters(study.dataset.name, row.loss, None)
        if published is not None and not row.key.startswith("best-"):
            rows.append({"models": row.label, **published, "source": "paper"})
    columns = (*TABLE2, *further_columns(told, TABLE2), Column("source", "Source"))
    return Table("table2", "Table 2, hyperparameters of the losses", study.heading, columns, rows)
