"""A table as a picture: rows from top to bottom, a panel a quantity, hollow marks for what the paper published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.picture import BLACK, BLUE, GREEN, ORANGE, STYLE, VERMILION
from experiments.reproduce.rows import Row, short
from kdsearch.results.formats import Cell, Label, Table
from kdsearch.results.result import Figure as Measured
from kdsearch.training.recipe import PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Panel", "draw_table", "drawn", "look_of"]

# Colour and mark of a kind of row: told apart by either.
_LOOKS = {
    "classical": (GREEN, "^", "without a network"),
    "reference": (BLACK, "s", "teacher or base model"),
    "paper": (BLUE, "o", "the paper's recipe"),
    "best": (VERMILION, "D", "best recipe, not the paper's"),
}


@dataclass(frozen=True)
class Panel:
    """One quantity.

    Attributes:
        key: of its column.
        label: of its axis, with the unit.
        log: whether the axis is logarithmic; it then spans whole decades.
        limits: of the axis; None for what the values take.
    """

    key: str
    label: str
    log: bool = False
    limits: tuple[float, float] | None = None


def look_of(row: Row) -> str:
    """The name of a row's look."""
    if row.recipe != PAPER:
        return "best"
    return {"classical": "classical", "teacher": "reference", "base": "reference"}.get(row.kind, "paper")


def drawn(label: Label) -> str:
    """A row's label as Matplotlib draws it: the loss in mathematics, the look says whose recipe it is."""
    return short(label).tex.replace(r"\%", "%")


def draw_table(table: Table, panels: Sequence[Panel]) -> Figure:
    """The panels side by side; rows whose source is the paper are drawn on the row before them."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = [row for row in table.rows if row.get("source") != "paper"]
    published: list[dict[str, Cell]] = [{} for _ in rows]
    at = -1
    for row in table.rows:
        if row.get("source") == "paper":
            published[at] = row
        else:
            at += 1
    with rc_context({**STYLE, "font.size": 10, "axes.titlesize": 10.5}):
        height = 1.5 + 0.3 * len(rows)
        figure = Figure(
            figsize=(3.4 + (2.5 if len(panels) < 5 else 1.6) * len(panels), height),
            layout="constrained",
            facecolor="white",
        )
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for panel, one in zip(panels, axes, strict=True):
            _draw_panel(one, panel, rows, published)
        axes[0].set_yticks(range(len(rows)), [_text(row) for row in rows])
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        figure.suptitle(f"{table.title}: {table.dataset}", fontsize=11, fontweight="bold")
        _legend(figure, rows, any(published))
    return figure


def _draw_panel(
    axes: Axes, panel: Panel, rows: Sequence[dict[str, Cell]], published: Sequence[dict[str, Cell]]
) -> None:
    for at, (row, told) in enumerate(zip(rows, published, strict=True)):
        colour, mark, _ = _LOOKS[str(row.get("look", "paper"))]
        value, deviation = _number(row.get(panel.key))
        if math.isfinite(value):
            axes.errorbar(
                value, at, xerr=deviation or None, color=colour, marker=mark, markersize=5.5, capsize=3, zorder=3
            )
        value, _ = _number(told.get(panel.key))
        if math.isfinite(value):
            axes.plot(value, at, marker="o", markersize=8, color=ORANGE, markerfacecolor="none", zorder=4)
    if panel.log:
        _decades(axes, [_number(row.get(panel.key))[0] for row in (*rows, *published)])
    elif panel.limits is not None:
        axes.set_xlim(*panel.limits)
    else:
        axes.margins(x=0.1)
    axes.set_xlabel(panel.label)
    axes.tick_params(axis="y", length=0)


def _decades(axes: Axes, values: Sequence[float]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    known = [math.log10(value) for value in values if value > 0]
    axes.set_xscale("log")
    if known:
        axes.set_xlim(10 ** math.floor(min(known) - 0.05), 10 ** math.ceil(max(known) + 0.05))
    axes.xaxis.set_major_locator(LogLocator(numticks=10))  # every decade, in a narrow panel too
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, rows: Sequence[dict[str, Cell]], with_paper: bool) -> None:
    from matplotlib.lines import Line2D

    there = {str(row.get("look", "paper")) for row in rows}
    handles = [
        Line2D([], [], linestyle="none", color=colour, marker=mark, markersize=5.5, label=label)
        for name, (colour, mark, label) in _LOOKS.items()
        if name in there
    ]
    if with_paper:
        hollow = {"color": ORANGE, "marker": "o", "markersize": 8, "markerfacecolor": "none"}
        handles.append(Line2D([], [], linestyle="none", label="published", **hollow))
    if len(handles) > 1:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)


def _number(cell: Cell) -> tuple[float, float]:
    """A cell's value and deviation; NaN of what is no number."""
    if isinstance(cell, Measured):
        return cell.mean, cell.std or 0.0
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return float(cell), 0.0
    return math.nan, 0.0


def _text(row: dict[str, Cell]) -> str:
    label = row.get("models")
    if label is None:  # Table 3
        return f"{row['pruned']:g}% pruned" + (", best recipe" if row.get("look") == "best" else "")
    return drawn(label) if isinstance(label, Label) else str(label)
