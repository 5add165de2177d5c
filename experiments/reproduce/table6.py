"""Table 6: how much of the training data the student takes from the teacher instead of the target (Eq. 6)."""

from __future__ import annotations

from experiments.reproduce import published
from experiments.reproduce.plots import look_of
from experiments.reproduce.rows import ROWS
from experiments.reproduce.study import Study, figure_of
from kdsearch.results.formats import Cell, Column, Table
from kdsearch.results.result import Figure

KEYS = ("ord", "scd", "tcd", "stcd", "best-stcd")


def build(study: Study) -> Table:
    """The table."""
    rows: list[dict[str, Cell]] = []
    for row in (ROWS[key] for key in KEYS if study.finished(ROWS[key])):
        shares = [100.0 * r.attention for r in study.records_of(row) if r.attention is not None]
        rows.append(
            {
                "models": row.label,
                "attention": figure_of(shares),
                "alpha1": study.params(row).values["alpha1"],
                "source": "ours",
                "look": look_of(row),
            }
        )
        told = published.attention(study.dataset.name, row.key)
        if told is not None:
            rows.append({"models": row.label, "attention": Figure(told), "source": "paper"})
    columns = (
        Column("models", "Models"),
        Column("attention", "Attention to Teacher Prediction (%)", figure=True),
        Column("alpha1", "α1", r"$\alpha_1$"),
        Column("source", "Source"),
    )
    notes = (
        "Share of all readings whose min-max scaled error of the teacher exceeds alpha1 (Eq. 6), mean over all updates "
        f"of a training; mean ± deviation over {study.settings.seeds} seeds. It depends on alpha1 and the teacher "
        "alone, so rows of one alpha1 differ by the order of windows only.",
    )
    return Table("table6", "Table 6, attention to the teacher", study.heading, columns, rows, notes)
