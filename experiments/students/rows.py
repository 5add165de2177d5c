"""The rows of the table: which network, trained how, told by whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kdsearch import command
from kdsearch.errors import UserError

__all__ = ["ROWS", "Row", "choose"]


@dataclass(frozen=True)
class Row:
    """One kind of network.

    Attributes:
        name: on the command line and in files.
        label: in the table.
        model: ``"teacher"`` or ``"student"``; None for what is not trained by gradient.
        recipe: of its training, see :mod:`kdsearch.training.recipe`.
        loss: of a student.
        teacher: who tells it: one teacher of its recipe, or the mean of all.
    """

    name: str
    label: str
    model: Literal["teacher", "student"] | None = None
    recipe: str = "paper"
    loss: str = "none"
    teacher: Literal["single", "ensemble"] | None = None


ROWS: Sequence[Row] = (
    Row("copy_last", "copy-last"),
    Row("ridge_ar", "ridge AR(12)"),
    Row("teacher", "teacher, paper", "teacher"),
    Row("teacher_best", "teacher, best", "teacher", "best"),
    Row("ensemble", "mean of the teachers, best", None, "best"),
    Row("none", "student, paper, no KD", "student"),
    Row("stcd", "student, paper, L_STCD", "student", loss="stcd", teacher="single"),
    Row("none_best", "student, best, no KD", "student", "best"),
    Row("stcd_best", "student, best, L_STCD", "student", "best", "stcd", "single"),
    Row("stcd_ensemble", "student, best, L_STCD, mean of teachers", "student", "best", "stcd", "ensemble"),
)


def choose(names: str) -> Sequence[Row]:
    """The rows named, in the table's order.

    Raises:
        UserError: a name is unknown.
    """
    wanted = [name for name in names.split(",") if name]
    known = [row.name for row in ROWS]
    for name in wanted:
        if name not in known:
            raise UserError(f"--rows: {name!r} is not one of {', '.join(known)}{command.suggestion(name, known)}")
    return [row for row in ROWS if row.name in wanted]
