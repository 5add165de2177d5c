"""The picture: median and range of the best score over wall time, a colour and a dash a method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.benchmarks.search.curves import Run, band

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw"]

# Okabe and Ito's palette, told apart by colour-blind readers; each line has its own dashes too.
LOOKS: Mapping[str, tuple[str, Any, float]] = {
    "ours": ("#D55E00", "solid", 2.6),
    "ours_gp": ("#E69F00", (0, (8, 1.2)), 2.6),
    "optuna": ("#0072B2", (0, (6, 2)), 1.8),
    "ray": ("#009E73", (0, (6, 2, 1, 2)), 1.8),
    "syne_tune": ("#CC79A7", (0, (1, 1.2)), 2.2),
    "random": ("#000000", (0, (3, 1.5)), 1.4),
}


def draw(runs: Sequence[Run], labels: Mapping[str, str], budget_s: float, title: str) -> Figure:
    """One line a method, its range over the seeds shaded."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    grid = [budget_s * k / 400 for k in range(401)]
    style = {
        "font.family": "DejaVu Sans",
        "font.size": 11,
        "axes.titlesize": 11.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#E9E9E9",
        "axes.axisbelow": True,
    }
    shown: list[float] = []
    with rc_context(style):
        figure = Figure(figsize=(8.4, 4.8), layout="constrained", facecolor="white")
        axes = figure.subplots()
        for name in [n for n in LOOKS if any(run.method == n for run in runs)]:
            colour, dashes, width = LOOKS[name]
            low, middle, high = (
                [v if math.isfinite(v) else math.nan for v in part] for part in _band(runs, name, grid)
            )
            axes.fill_between(grid, low, high, step="post", color=colour, alpha=0.13, linewidth=0)
            axes.step(
                grid,
                middle,
                where="post",
                color=colour,
                linestyle=dashes,
                linewidth=width,
                label=labels.get(name, name),
                zorder=4 if name.startswith("ours") else 3,
            )
            ends = [run.best for run in runs if run.method == name and math.isfinite(run.best)]
            shown += ends + [v for v in middle[len(grid) // 3 :] if math.isfinite(v)]
        if shown:
            room = max(shown) - min(shown) or 0.1 * min(shown)
            axes.set_ylim(min(shown) - 0.06 * room, max(shown) + 0.25 * room)
        axes.set_xlim(0, budget_s)
        axes.set_xlabel("wall time since the command started (s)")
        axes.set_ylabel("lowest validation MAE so far (mph),\nmean of 15, 30 and 45 min ahead")
        axes.set_title(title)
        axes.legend(loc="upper right", fontsize=9.5, framealpha=0.95, edgecolor="none", handlelength=3.2)
    return figure


def _band(runs: Sequence[Run], name: str, grid: Sequence[float]) -> tuple[list[float], list[float], list[float]]:
    return band([run for run in runs if run.method == name], grid)
