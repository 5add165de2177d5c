"""``python -m experiments.picture``: one picture of a finished search, its history and the winner's forecast."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsearch import command
from kdsearch.contents import WINNER
from kdsearch.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kdsearch.data import Dataset

__all__ = ["Curve", "Day", "History", "draw", "main", "parser", "read_day", "read_history", "slowest"]

# Okabe and Ito's palette, told apart by colour-blind readers.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GREY, PALE = "#8C8C8C", "#C4C4C4"
# Name in best.json, label, colour, dashes: each differs from the others in more than its colour.
BASELINES = (
    ("copy_last", "copy last", GREEN, (0, (1, 1.4))),
    ("ridge_ar", "ridge AR(12)", PURPLE, (0, (5, 2))),
    ("usual_day", "usual day + deviation", BLUE, (0, (4, 1.2, 1, 1.2))),
    ("student_none", "student, no KD", ORANGE, (0, (6, 2, 1, 2))),
    ("teacher", "teacher", BLACK, "solid"),
)
# Of every picture here.
STYLE: dict[str, Any] = {
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
    "lines.solid_capstyle": "round",
}
SHOWN_MINUTES = (15, 45)
FIRST_HOUR, LAST_HOUR = 5, 21


def parser() -> command.Parser:
    """The command's arguments."""
    p = command.Parser(
        "python -m experiments.picture",
        "Draw a finished search: each trial's validation score by epoch, and the winner's forecast of one test day.",
    )
    p.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of a finished search")
    p.add_argument("--file", type=Path, required=True, metavar="PATH", help="picture to write: png, svg or pdf")
    p.add_argument("--dataset", metavar="NAME|FILE", help="of the search (default: the one best.json names)")
    p.add_argument("--data-dir", type=Path, metavar="DIR", help="where the raw files lie")
    p.add_argument("--dpi", type=command.positive_int, default=150, metavar="N", help="dots an inch of a png")
    return p


@dataclass(frozen=True)
class Curve:
    """A trial: its number, how it ended, and its best validation score (mph) up to each epoch."""

    number: int
    state: str
    epochs: list[int]
    scores: list[float]


@dataclass(frozen=True)
class History:
    """The left half.

    Attributes:
        curves: of the trials that did not fail.
        trials: all that ran, the failed ones too.
        winner: number of the winner's trial.
        baselines: validation scores by name, mph.
    """

    curves: list[Curve]
    trials: int
    winner: int
    baselines: dict[str, float]


@dataclass(frozen=True)
class Day:
    """The right half: readings of one sensor on one test day and the winner's forecasts of them.

    Attributes:
        sensor: its number, counted from 0.
        day: number of the test day, counted from 1.
        truth: mph ``[S]``, NaN where missing.
        forecasts: by minutes ahead, mph ``[S]`` at the time they are for, NaN where no window reaches.
        minutes_per_step: between readings.
    """

    sensor: int
    day: int
    truth: np.ndarray
    forecasts: dict[int, np.ndarray]
    minutes_per_step: int


def read_history(output: Path, document: Mapping[str, Any]) -> History:
    """The trials of a search and what stands beside them."""
    from kdsearch.search.study import progress, read_study
    from kdsearch.training.metrics import score

    curves = []
    trials = [t for t in read_study(output).get_trials(deepcopy=False) if t.state.name != "WAITING"]
    for trial in trials:
        if trial.state.name == "FAIL":
            continue
        values = [(e, v) for e, v in sorted(progress(trial).items()) if math.isfinite(v)]
        if not values:
            continue
        best = math.inf
        scores = [best := min(best, value) for _, value in values]
        curves.append(Curve(trial.number, trial.state.name, [e for e, _ in values], scores))
    if not curves:
        raise UserError(f"{output}: no trial has a finite validation score, there is nothing to draw")
    baselines = {}
    for name, row in document["baselines"].items():
        figures = {k: v["mean"] if isinstance(v, Mapping) else v for k, v in row["validation"].items()}
        baselines[name] = score(figures)
    return History(curves, len(trials), int(document["confirmed"][0]["trial"]), baselines)


def slowest(speeds: np.ndarray) -> tuple[int, int]:
    """Day and sensor with the lowest mean speed of ``[D, S, N]``; those with gaps would show their gaps."""
    import numpy as np

    mean = np.where(np.isnan(speeds).mean(axis=1) > 0.1, np.inf, np.nan_to_num(speeds).mean(axis=1))
    day, sensor = np.unravel_index(mean.argmin(), mean.shape)
    return int(day), int(sensor)


def read_day(output: Path, dataset: Dataset) -> Day:
    """The slowest sensor of the slowest test day (by its mean speed), with the forecasts of ``checkpoints/best.pt``."""
    from kdsearch.training.checkpoint import load_checkpoint
    from kdsearch.training.evaluate import forecast_days

    model = load_checkpoint(output / WINNER).network(dataset)
    speeds = dataset.days("test")
    day, sensor = slowest(speeds)
    lines = forecast_days(model, dataset, "test")
    shown = [minutes for minutes in SHOWN_MINUTES if minutes in lines] or sorted(lines)
    forecasts = {minutes: lines[minutes][day, :, sensor] for minutes in shown}
    return Day(sensor, day + 1, speeds[day, :, sensor], forecasts, dataset.minutes_per_step)


def draw(history: History, day: Day, title: str) -> Figure:
    """Both halves side by side."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(11.4, 4.5), layout="constrained", facecolor="white")
        left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.12))
        figure.get_layout_engine().set(wspace=0.04)
        _draw_history(left, history, title)
        _draw_day(right, day)
    return figure


def _draw_history(axes: Axes, history: History, title: str) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    marker: dict[str, Any] = {"marker": "o", "markersize": 3.2}
    for curve in history.curves:
        if curve.number == history.winner:
            continue
        whole = curve.state == "COMPLETE"
        colour, width = (SKY, 1.4) if whole else (PALE, 1.1)
        axes.plot(curve.epochs, curve.scores, color=colour, linewidth=width, zorder=3 if whole else 2, **marker)
        if not whole:
            axes.plot(curve.epochs[-1:], curve.scores[-1:], color=GREY, marker="x", markersize=5, zorder=2.5)
    thick: dict[str, Any] = {"color": VERMILION, "linewidth": 2.6, "marker": "o", "markersize": 4.5}
    won = [c for c in history.curves if c.number == history.winner]
    for curve in won:
        axes.plot(curve.epochs, curve.scores, zorder=5, **thick)
    last = max(c.epochs[-1] for c in history.curves)
    levels = [(n, label, c, d) for n, label, c, d in BASELINES if math.isfinite(history.baselines.get(n, math.nan))]
    for name, _, colour, dashes in levels:
        axes.axhline(history.baselines[name], color=colour, linestyle=dashes, linewidth=1.5, zorder=4)
    _limit(axes, history, [history.baselines[n] for n, *_ in levels])
    axes.set_xlim(0.75, last + 0.25)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.set_ylabel("lowest validation MAE so far (mph),\nmean of 15, 30 and 45 min ahead")
    axes.set_title(title)
    stopped = sum(c.state != "COMPLETE" for c in history.curves)
    handles = [
        *(Line2D([], [], label=f"winner, trial {c.number}", **thick) for c in won),
        Line2D([], [], color=SKY, linewidth=1.4, label="run to the end", **marker),
        Line2D([], [], color=PALE, linewidth=1.1, markeredgecolor=GREY, marker="x", label=f"stopped early ({stopped})"),
        *(Line2D([], [], color=c, linestyle=d, linewidth=1.5, label=label) for _, label, c, d in levels),
    ]
    axes.legend(
        handles=handles,
        loc="upper right",
        fontsize=9.5,
        ncols=2,
        framealpha=0.95,
        edgecolor="none",
        handlelength=2.4,
    )


def _limit(axes: Axes, history: History, levels: Sequence[float]) -> None:
    """First epochs of bad trials would flatten everything else: the axis follows the end of the curves."""
    ends = [c.scores[-1] for c in history.curves]
    low, high = min(*ends, *levels), max(*levels, *ends)
    starts = sorted(c.scores[0] for c in history.curves)
    high = max(high, min(starts[len(starts) // 2], low + 2.0 * (high - low)))
    room = high - low
    axes.set_ylim(low - 0.06 * room, high + 0.45 * room)  # above: the legend


def _draw_day(axes: Axes, day: Day) -> None:
    import numpy as np

    hours = np.arange(len(day.truth)) * day.minutes_per_step / 60
    axes.plot(hours, day.truth, color=BLACK, linewidth=1.5, label="measured", zorder=3)
    looks = ((BLUE, "solid", 1.5), (VERMILION, (0, (4, 1.3)), 1.5), (GREEN, (0, (1, 1)), 1.5))
    for (minutes, line), (colour, dashes, width) in zip(sorted(day.forecasts.items()), looks, strict=False):
        label = f"{minutes} min ahead"
        axes.plot(hours, line, color=colour, linestyle=dashes, linewidth=width, label=label, zorder=4)
    axes.set_xlim(FIRST_HOUR, LAST_HOUR)
    axes.set_xticks(range(FIRST_HOUR + 1, LAST_HOUR + 1, 3))
    axes.set_xticklabels([f"{h:02d}:00" for h in range(FIRST_HOUR + 1, LAST_HOUR + 1, 3)])
    axes.set_ylim(0, None)
    axes.set_xlabel("time of day")
    axes.set_ylabel("speed (mph)")
    axes.set_title(f"Winner's forecast: slowest sensor (number {day.sensor}), test day {day.day}")
    _, top = axes.get_ylim()
    axes.set_ylim(0, 1.12 * top)  # above: the legend
    axes.legend(loc="upper center", ncols=3, fontsize=9.5, framealpha=0.95, edgecolor="none", handlelength=2.4)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the search, draw, write.

    Raises:
        UserError: no finished search there, its dataset is not at hand, or matplotlib is not installed.
    """
    args = parser().parse_args(argv)
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError("pictures need matplotlib: pip install -e '.[plots]'") from None
    from kdsearch.data import load
    from kdsearch.results.best import dataset_of, read_best

    document = read_best(args.output)
    name = args.dataset or dataset_of(document, args.output)
    history = read_history(args.output, document)
    title = f"Search: {document['dataset']}, loss {document['loss']}, {history.trials} trials"
    figure = draw(history, read_day(args.output, load(name, args.data_dir)), title)
    try:
        args.file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(args.file, dpi=args.dpi)
    except (OSError, ValueError) as error:
        raise UserError(f"--file {args.file} cannot be written: {error}") from None
    print(f"written to {args.file}")
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
