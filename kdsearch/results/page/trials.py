"""Charts of the trials: the history of the search, learning curves, rungs of early stopping, and the timeline."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from kdsearch.results.page.markup import Markup, el, join, path
from kdsearch.results.page.names import STATES, look, parameter, span, states_key
from kdsearch.results.page.plot import (
    HALF,
    NARROW,
    Area,
    Size,
    axis_x,
    axis_y,
    both,
    chart,
    figure,
    key,
    mark,
)
from kdsearch.results.page.reading import Search, Trial
from kdsearch.results.page.scales import Categories, Scale, short, span_of
from kdsearch.results.page.table import plain_table

__all__ = ["Rung", "curves", "history", "lanes", "rungs", "rungs_of", "score_scale", "timeline"]

SCORE = "validation MAE (mph)"
# Short names for the margin, and dashes.
_LEVELS = {
    "copy_last": ("copy last", "2 3"),
    "ridge_ar": ("ridge AR", "6 3"),
    "usual_day": ("usual day", "4 2 1 2"),
    "student_none": ("no KD", "9 3 2 3"),
    "teacher": ("teacher", None),
    "base": ("base", "12 4"),
}


def score_scale(search: Search, values: Sequence[float], start: float, end: float, levels: bool = False) -> Scale:
    """An axis of scores that a few very bad trials do not stretch: they stand at its upper end."""
    finite = sorted(v for v in values if math.isfinite(v))
    beside = [v for v in search.levels().values() if math.isfinite(v)] if levels else []
    if not finite:
        return Scale(*span_of(beside), start, end)
    low = min(finite[0], *beside) if beside else finite[0]
    middle, upper = finite[len(finite) // 2], finite[(9 * len(finite)) // 10]
    # Twice the way from the best to the median, or the best nine in ten, whichever is less.
    limit = max(finite[0] + 2.5 * (middle - finite[0]), *beside, finite[0]) if beside else 0.0
    limit = max(limit, min(upper, finite[0] + 2.5 * (middle - finite[0])))
    high = max(min(finite[-1], limit), low)
    return Scale(*span_of([low, high]), start, end)


def _level_lines(search: Search, area: Area, y: Scale) -> list[Markup]:
    """A line at the score of each baseline that is on the axis, named in the margin; names do not overlap."""
    parts, lowest = [], math.inf
    shown = [(n, v) for n, v in search.levels().items() if n in _LEVELS and math.isfinite(v) and y.low <= v <= y.high]
    for name, value in sorted(shown, key=lambda item: item[1]):
        at, (label, dashes) = y(value), _LEVELS[name]
        parts.append(el("line", class_="level", x1=area.left, x2=area.x[1], y1=at, y2=at, stroke_dasharray=dashes))
        lowest = min(at + 4, lowest - 12)
        parts.append(el("text", f"{label} {value:.2f}", class_="level-name", x=area.x[1] + 5, y=lowest))
    return parts


def _half(search: Search) -> Area:
    """Half a page wide, with a margin for the names of baselines where there are any."""
    return Area(HALF.width, 320, right=92 if search.levels() else 14)


def history(search: Search) -> Markup:
    """Score of every trial in the order they began, and the best so far."""
    area = _half(search)
    scored = search.scored
    last = max((t.number for t in search.trials), default=0)
    x = Scale(-0.5, last + 0.5, *area.x, whole=True)
    y = score_scale(search, [t.score for t in scored], *area.y, levels=True)
    steps: list[tuple[float, float]] = []
    best = math.inf
    for trial in scored:
        if trial.state == "FAIL":
            continue
        if trial.score < best:
            if steps:
                steps.append((x(trial.number), y(best)))
            best = trial.score
            steps.append((x(trial.number), y(best)))
    if steps:
        steps.append((area.x[1], y(best)))
    marks = [_mark(search, t, x(t.number), y, t.score) for t in _winner_last(search, scored)]
    drawn = chart(
        HALF,
        area.height,
        f"Score of {len(scored)} trials by number, lowest {best:.3f} mph." if scored else "No trial has a score.",
        axis_y(area, y, SCORE),
        axis_x(area, x, "trial"),
        *_level_lines(search, area, y),
        el("path", class_="best-line", d=path(steps)),
        *marks,
        kind="marks",
    )
    over = sum(t.score > y.high for t in scored)
    told = "Lowest score of each trial, in the order they began; lower is better. The line is the best so far."
    if over:
        told += f" {_trials(over)} worse than the axis shows stand{'s' if over == 1 else ''} at its upper end (▲)."
    return figure("History of the search", told, drawn, key(*states_key(search)), table=_trial_table(search))


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"


def _winner_last(search: Search, trials: Sequence[Trial]) -> list[Trial]:
    """So that nothing hides it."""
    return sorted(trials, key=lambda t: (t.number == search.winner, t.state == "COMPLETE"))


def _mark(search: Search, trial: Trial, x: float, y: Scale, value: float) -> Markup:
    shape, class_ = look(search, trial)
    return mark("up" if value > y.high else shape, x, y(value), 4, class_, data_t=trial.number)


def _trial_table(search: Search) -> Markup:
    heads = ["trial", "state", "score (mph)", "best epoch", "epochs", "time (s)"]
    if search.pareto:
        heads.append("cost")
    heads += [parameter(n) for n in search.params]
    rows = []
    for t in search.trials:
        row: list[object] = [t.number, STATES[t.state], t.score, t.best_epoch or None, t.epochs, round(t.seconds, 1)]
        if search.pareto:
            row.append(t.cost)
        rows.append(row + [t.params.get(n) for n in search.params])
    return plain_table(heads, rows, "All trials", sortable=True, marked=search.winner)


def curves(search: Search) -> Markup:
    """Best score so far of each trial by epoch."""
    area = _half(search)
    drawn = [t for t in search.trials if t.curve and t.state != "FAIL"]
    last = max((max(t.curve) for t in drawn), default=1)
    x = Scale(0.5, max(last, int(search.setup.get("epochs", 1))) + 0.5, *area.x, whole=True)
    ends = [v for t in drawn for v in (t.score, *list(t.curve.values())[1:2])]
    y = score_scale(search, ends, *area.y, levels=True)
    lines = []
    for trial in _winner_last(search, drawn):
        shape, class_ = look(search, trial)
        # What lies above the axis is not drawn along its upper end as if it were there.
        inside = [(x(e), y(v) if v <= y.high else math.nan) for e, v in trial.curve.items()]
        kept = trial.curve[max(trial.curve)]
        end = inside[-1][0], y(kept)
        lines.append(el("path", class_=f"curve {class_}", d=path(inside), data_t=trial.number))
        shape = "up" if kept > y.high else shape
        lines.append(mark(shape, *end, 3.4, class_, data_t=trial.number))
    content = chart(
        HALF,
        area.height,
        f"Best score so far of {len(drawn)} trials by epoch.",
        axis_y(area, y, f"lowest {SCORE} so far"),
        axis_x(area, x, "epoch"),
        *_level_lines(search, area, y),
        *lines,
        kind="marks",
    )
    told = "Each line is a trial; it ends where the trial was stopped, or at the last epoch."
    epochs = sorted({e for t in drawn for e in t.curve})
    heads = ["trial", "state", *(f"epoch {e}" for e in epochs)]
    rows = [[t.number, STATES[t.state], *(t.curve.get(e) for e in epochs)] for t in drawn]
    table = plain_table(heads, rows, "Lowest score so far (mph) after each epoch") if len(epochs) <= 60 else None
    return figure("Learning curves", told, content, key(*states_key(search)), table=table)


@dataclass(frozen=True)
class Rung:
    """What happened where trials are compared.

    Attributes:
        epoch: after which they are.
        passed, stopped, waiting: trials with the score they had there.
    """

    epoch: int
    passed: tuple[tuple[Trial, float], ...]
    stopped: tuple[tuple[Trial, float], ...]
    waiting: tuple[tuple[Trial, float], ...]

    @property
    def values(self) -> list[float]:
        """All scores seen."""
        return [v for _, v in (*self.passed, *self.stopped, *self.waiting)]


def rungs_of(search: Search) -> list[Rung]:
    """The rungs of a search with ASHA or Hyperband, lowest first; of another scheduler none.

    A trial counts at the first epoch with a score at or after the rung's: one that is still being pruned has none.
    """
    if search.setup.get("scheduler") not in ("asha", "hyperband"):
        return []
    epochs, reduction = int(search.setup["epochs"]), int(search.setup["reduction"])
    found: list[Rung] = []
    epoch = int(search.setup["grace"])
    while epoch < epochs:
        groups: dict[str, list[tuple[Trial, float]]] = {"passed": [], "stopped": [], "waiting": []}
        for trial in search.trials:
            at = min((e for e in trial.curve if e >= epoch), default=None)
            # Where a rung was jumped over, the trial is entered at its first score, in the highest rung it reached.
            if at is None or trial.state == "FAIL":
                continue
            on = trial.state == "COMPLETE" or max(trial.curve) > at
            group = "passed" if on else "waiting" if trial.state == "RUNNING" else "stopped"
            groups[group].append((trial, trial.curve[at]))
        found.append(Rung(epoch, *(tuple(groups[n]) for n in ("passed", "stopped", "waiting"))))
        epoch *= reduction
    return found


def rungs(search: Search) -> Markup | None:
    """Scores at each rung of ASHA: who went on and who was stopped. None without rungs."""
    found = [r for r in rungs_of(search) if r.values]
    if not found:
        return None
    area = Area(HALF.width, 320, bottom=54)
    x = Categories(tuple(r.epoch for r in found), *area.x)
    y = score_scale(search, [v for r in found for v in r.values], *area.y)
    parts = []
    room = 0.7 * (area.x[1] - area.x[0]) / len(found)
    for rung in found:
        everyone = sorted((*rung.passed, *rung.stopped, *rung.waiting), key=lambda item: item[0].number)
        for place, (trial, value) in enumerate(everyone):
            shape, class_ = look(search, trial)
            if class_ == "stopped" and any(trial is t for t, _ in rung.passed):
                shape, class_ = "ring", "passed"
            at = x(rung.epoch) + ((place + 0.5) / len(everyone) - 0.5) * room
            parts.append(mark("up" if value > y.high else shape, at, y(value), 4, class_, data_t=trial.number))
        told = f"{len(everyone)} came, {len(rung.passed)} went on"
        parts.append(el("text", told, x=x(rung.epoch), y=area.y[0] + 32, text_anchor="middle", aria_hidden="true"))
    below = [el("text", f"after epoch {r.epoch}", x=x(r.epoch), y=area.y[0] + 17, text_anchor="middle") for r in found]
    counts = ", ".join(f"{len(r.passed)} of {len(r.values)} went on after epoch {r.epoch}" for r in found)
    drawn = chart(
        HALF,
        area.height,
        f"Rungs of early stopping: {counts}.",
        axis_y(area, y, SCORE),
        el("line", class_="axis", x1=area.x[0], x2=area.x[1], y1=area.y[0], y2=area.y[0], aria_hidden="true"),
        el("g", *below, aria_hidden="true"),
        *parts,
        kind="marks",
    )
    reduction = search.setup["reduction"]
    told = (
        f"At each rung a trial went on if it was among the best 1 in {reduction} of those that had come so far, "
        "from left to right. So an early trial may pass with a score that stops a later one."
    )
    if search.pareto:
        told = (
            f"At each rung a trial was stopped if more than 1 in {reduction} of those that had come so far lay on a "
            "better front of score and cost, so a small network may pass with a higher score."
        )
    if search.setup["scheduler"] == "hyperband":
        told += " Trials of the later brackets skip the first rungs."
    heads = ["rung (epoch)", "came", "went on", "stopped", "unfinished", "best score (mph)", "median (mph)"]
    rows = [
        [
            r.epoch,
            len(r.values),
            len(r.passed),
            len(r.stopped),
            len(r.waiting),
            min(r.values),
            statistics.median(r.values),
        ]
        for r in found
    ]
    entries = states_key(search)
    if any(t.state == "PRUNED" and t.number != search.winner for r in found for t, _ in r.passed):
        entries.insert(2 if len(entries) > 1 else len(entries), ("ring", "passed", "went on here, stopped later"))
    name = {"asha": "ASHA", "hyperband": "Hyperband"}[search.setup["scheduler"]]
    return figure(f"Rungs of {name}", told, drawn, key(*entries), table=plain_table(heads, rows, "Rungs"))


def lanes(trials: Sequence[Trial]) -> dict[int, int]:
    """A lane for each trial that has a beginning and an end.

    The worker it ran in where the search recorded it; otherwise the first lane that is free, which gives as many lanes
    as trials ran at once.
    """
    timed = sorted((t for t in trials if t.started <= t.ended), key=lambda t: (t.started, t.number))
    if timed and all(t.worker is not None for t in timed):
        order = {w: i for i, w in enumerate(sorted({t.worker for t in timed if t.worker is not None}))}
        return {t.number: order[t.worker] for t in timed if t.worker is not None}
    free: list[float] = []
    found = {}
    for trial in timed:
        lane = next((i for i, until in enumerate(free) if until <= trial.started + 0.05), len(free))
        if lane == len(free):
            free.append(0.0)
        free[lane] = trial.ended
        found[trial.number] = lane
    return found


def timeline(search: Search) -> Markup | None:
    """When each trial ran, a row for each worker; None where no trial has a time."""
    place = lanes(search.trials)
    timed = [t for t in search.trials if t.number in place]
    if not timed:
        return None
    began, over = min(t.started for t in timed), max(t.ended for t in timed)
    unit, name = (3600.0, "hours") if over - began > 3 * 3600 else (60.0, "minutes")
    count = max(place.values()) + 1
    recorded = all(t.worker is not None for t in timed)

    def draw(size: Size) -> Markup:
        height = 20 if count > 12 else 26
        area = Area(size.width, 26 + count * (height + 6) + 40, left=34, top=24)
        x = Scale(0.0, max((over - began) / unit, 1e-6), *area.x)
        parts = []
        for lane in range(count):
            at = area.top + lane * (height + 6)
            middle = at + height / 2 + 5
            parts.append(el("text", lane, x=area.left - 8, y=middle, text_anchor="end", aria_hidden="true"))
        for trial in timed:
            left, right = x((trial.started - began) / unit), x((trial.ended - began) / unit)
            at = area.top + place[trial.number] * (height + 6)
            width = max(right - left - 1, 1.5)
            class_ = look(search, trial).class_
            box = {"x": left, "y": at, "width": width, "height": height}
            parts.append(el("rect", class_=f"m bar {class_}", **box, rx=2, data_t=trial.number))
            if width > 7 * len(str(trial.number)) + 6:
                parts.append(
                    el(
                        "text",
                        trial.number,
                        class_=f"in-bar {class_}",
                        x=left + width / 2,
                        y=at + height / 2 + 4,
                        text_anchor="middle",
                        aria_hidden="true",
                    )
                )
        ticks = x.ticks(5 if size == NARROW else 10)
        below = axis_x(area, x, f"{name} since the first trial began", ticks)
        label = f"{len(timed)} trials on {count} worker{'' if count == 1 else 's'} in {span(over - began)}."
        top = el("text", "worker" if recorded else "slot", class_="label", x=2, y=13, aria_hidden="true")
        return chart(size, area.height, label, top, below, *parts, kind="marks")

    busy = sum(t.ended - t.started for t in timed)
    told = f"Each bar is a trial with its number. Workers were busy {100 * busy / (count * (over - began) or 1):.0f}% "
    told += f"of {span(over - began)}."
    if not recorded:
        told += " The search did not record its workers: a row is as many trials as ran one after another."
    heads = ["trial", "worker" if recorded else "slot", "state", "began (s)", "ended (s)"]
    rows = [
        [t.number, place[t.number], STATES[t.state], round(t.started - began, 1), round(t.ended - began, 1)]
        for t in timed
    ]
    entries = [("box", f"bar {c}", n) for _, c, n in states_key(search)]
    table = plain_table(heads, rows, "Times of the trials")
    return figure("Timeline", told, both(draw), key(*entries), table=table, wide=True)


def failures(search: Search) -> Markup | None:
    """Why trials failed, each reason once; None where none did."""
    failed = [t for t in search.trials if t.state == "FAIL"]
    if not failed:
        return None
    by_reason = itertools.groupby(sorted(failed, key=lambda t: t.error or ""), key=lambda t: t.error or "not recorded")
    rows = [[reason, ", ".join(short(t.number) for t in group)] for reason, group in by_reason]
    table = plain_table(["reason", "numbers of the trials"], rows, "Why trials failed")
    return join([el("h3", "Failed trials"), el("div", table, class_="scroll", tabindex=0)])
