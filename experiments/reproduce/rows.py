"""What a row of a table is, and all rows by name. Tables pick theirs; the same row is trained once for all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from kdsearch.results.formats import Label
from kdsearch.results.tables import LOSSES
from kdsearch.training.recipe import PAPER

__all__ = ["CLASSICAL", "ROWS", "Kind", "Row", "best_of", "short"]

Kind = Literal["classical", "astgcn", "teacher", "base", "mean", "student", "pruned"]


@dataclass(frozen=True)
class Row:
    """One method of a table.

    Attributes:
        key: its name, as in ``--skip`` and in ``experiments/paper.toml``.
        label: as the table prints it.
        kind: ``"classical"`` ones have no seed; ``"teacher"`` and ``"base"`` are one network each, which all others
            learn from or prune, and ``"mean"`` forecasts with several teachers; the rest are trained once a seed.
        loss: that it is trained with.
        prune: percent of all parameters taken away.
        criterion: what a channel is worth when it is pruned.
        recipe: how it is trained, its teacher too.
        told_by_mean: whether it learns from the mean of several teachers.
    """

    key: str
    label: Label
    kind: Kind
    loss: str = "none"
    prune: float | None = None
    criterion: Literal["kdis", "taylor"] = "kdis"
    recipe: str = PAPER
    told_by_mean: bool = False

    @property
    def seeded(self) -> bool:
        """Whether it is trained once a seed."""
        return self.kind in ("astgcn", "student", "pruned")

    @property
    def learns(self) -> bool:
        """Whether it reads a teacher."""
        return self.kind in ("student", "pruned") and self.loss != "none"

    @property
    def start(self) -> str | None:
        """The trained network that is pruned: the teacher above 90%, else the base model (Tables 7 and 8)."""
        from kdsearch.pruning.objective import start_network  # imports torch, which --help can do without

        return None if self.prune is None else start_network(self.prune)

    def network(self, name: str) -> Row:
        """The ``"teacher"`` or the ``"base"`` model of its recipe."""
        return ROWS[name if self.recipe == PAPER else f"best-{name}"]


def short(label: Label) -> Label:
    """Without the mark of what the paper does not have, where something else says so."""
    return Label(label.plain.replace(_NOT_PAPER, ""), label.tex.replace(_NOT_PAPER, ""))


def best_of(row: Row) -> Row:
    """The same row trained by the project's own recipe, which the paper does not have."""
    return replace(row, key=f"best-{row.key}", label=row.label + _MARK, recipe="best")


CLASSICAL = {
    "copy_last": "Copy last",
    "historical_average": "Historical average",
    "ridge_ar": "Ridge AR(12)",
    "arima": "ARIMA(3,0,1)",
}
_NOT_PAPER = " (not in the paper)"
_MARK = f", best recipe{_NOT_PAPER}"
_STUDENT = Label("Student ", "Student ")


def _all() -> dict[str, Row]:
    rows = [Row(key, Label(name, name), "classical") for key, name in CLASSICAL.items()]
    rows += [
        Row("astgcn", Label("ASTGCN", "ASTGCN"), "astgcn"),
        Row("teacher", Label("Teacher", "Teacher"), "teacher"),
        Row("base", Label("Base model", "Base model"), "base"),
    ]
    rows += [Row(loss, _STUDENT + label, "student", loss) for loss, label in LOSSES.items()]
    for percent in (97.0, 75.0, 50.0, 25.0):
        kept = f", {100 - percent:g}% kept"
        ours = Label("Pruned with ", "Pruned with ") + LOSSES["stcd"] + kept
        rows.append(Row(f"kdis-{percent:g}", ours, "pruned", "stcd", percent))
        traditional = Label("Traditional pruning", "Traditional pruning") + kept
        rows.append(Row(f"taylor-{percent:g}", traditional, "pruned", "none", percent, "taylor"))
    by_key = {row.key: row for row in rows}
    best = [best_of(by_key[key]) for key in ("teacher", "base", "none", "stcd", "kdis-97", "kdis-75")]
    told = Row("stcd-mean", _STUDENT + LOSSES["stcd"] + ", mean of teachers", "student", "stcd", told_by_mean=True)
    mean = Label("Mean of the teachers", "Mean of the teachers")
    best += [best_of(Row("mean", mean, "mean")), best_of(told)]
    return by_key | {row.key: row for row in best}


ROWS: dict[str, Row] = _all()
