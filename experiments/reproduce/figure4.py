"""Figure 4: forecasts of one sensor over time, of the teacher and of students with and without pruning.

The same is drawn of the students of the table of students worth shipping.

The paper draws a sensor at random. Here it is the slowest sensor of the slowest test day, by mean speed, and the 50
consecutive windows in which it is slowest: where there is something to forecast. A line is the mean over the seeds and
the band their deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.picture import BLACK, BLUE, GREEN, ORANGE, STYLE, VERMILION, slowest
from experiments.reproduce.plots import drawn
from experiments.reproduce.rows import ROWS
from experiments.reproduce.study import Study
from kdsearch.errors import UserError
from kdsearch.training.evaluate import forecast_days

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["KEYS", "POINTS", "SHIPPING", "draw", "slowest_stretch"]

KEYS = ("teacher", "stcd", "kdis-97", "best-kdis-97")
# The paper's student, ours, and the best teacher.
SHIPPING = ("best-teacher", "none", "best-stcd-mean")
POINTS = 50
_LOOKS = {
    "teacher": (GREEN, (0, (1, 1.2))),
    "stcd": (BLUE, (0, (5, 1.6))),
    "kdis-97": (VERMILION, "solid"),
    "best-kdis-97": (ORANGE, (0, (6, 1.5, 1, 1.5))),
    "best-teacher": (GREEN, (0, (1, 1.2))),
    "none": (BLUE, (0, (5, 1.6))),
    "best-stcd-mean": (VERMILION, "solid"),
}


def slowest_stretch(speeds: np.ndarray, first: int, points: int = POINTS) -> int:
    """First step of the ``points`` consecutive ones, at ``first`` or later, with the lowest mean of ``speeds [S]``."""
    filled = np.nan_to_num(speeds, nan=float(np.nanmean(speeds)))
    points = min(points, len(speeds) - first)
    means = np.convolve(filled[first:], np.ones(points) / points, mode="valid")
    return first + int(means.argmin())


def draw(study: Study, keys: Sequence[str]) -> Figure:
    """A panel for the shortest and one for the longest horizon.

    Args:
        study: what was trained.
        keys: of the rows that are drawn.

    Raises:
        UserError: none of its rows was trained.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    dataset = study.dataset
    rows = [ROWS[key] for key in keys if study.trained(ROWS[key])]
    if not rows:
        raise UserError("--figures 4, shipping: none of the networks whose forecasts they show is trained")
    speeds = dataset.days("test")
    day, sensor = slowest(speeds)
    shortest, longest = min(dataset.horizons), max(dataset.horizons)
    # Steps that every horizon has a forecast of; where a day is too short for one, those that any has.
    first, last = dataset.n_his + longest - 1, dataset.n_his + dataset.windows_per_day + shortest - 1
    if first >= last:
        first, last = dataset.n_his + shortest - 1, dataset.n_his + dataset.windows_per_day + longest - 1
    begin = slowest_stretch(speeds[day, :last, sensor], first)
    steps = np.arange(begin, min(begin + POINTS, last))
    lines = {row.key: [forecast_days(network, dataset, "test") for network in study.networks(row)] for row in rows}
    with rc_context({**STYLE, "font.size": 10}):
        figure = Figure(figsize=(11.4, 4.2), layout="constrained", facecolor="white")
        shown = sorted({shortest, longest})
        grid = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        hours = steps * dataset.minutes_per_step / 60
        for axes, step in zip(grid, shown, strict=True):
            axes.plot(hours, speeds[day, steps, sensor], color=BLACK, linewidth=1.6, label="measured", zorder=5)
            minutes = dataset.horizons[step]
            for row in rows:
                ahead = np.stack([of_seed[minutes][day, steps, sensor] for of_seed in lines[row.key]])
                _draw_line(axes, hours, ahead, row.key)
            axes.set_title(f"{minutes} minutes ahead")
            axes.xaxis.set_major_formatter(lambda hour, _: f"{int(hour):02d}:{round(hour % 1 * 60):02d}")
            axes.set_xlabel("time of day")
        grid[0].set_ylabel("speed (mph)")
        figure.suptitle(
            f"Forecasts of sensor {sensor}, test day {day + 1}: {study.heading}", fontsize=11, fontweight="bold"
        )
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9.5)
    return figure


def _draw_line(axes: Axes, hours: np.ndarray, forecasts: np.ndarray, key: str) -> None:
    """The mean of ``forecasts [seeds, points]`` and the band of their deviation."""
    colour, dashes = _LOOKS[key]
    mean = forecasts.mean(axis=0)
    axes.plot(hours, mean, color=colour, linestyle=dashes, linewidth=1.7, label=drawn(ROWS[key].label), zorder=4)
    if len(forecasts) > 1:
        spread = forecasts.std(axis=0, ddof=1)
        axes.fill_between(hours, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0, zorder=2)
