"""Charts of the hyperparameters: parallel coordinates, slices, importance."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kdsearch.results.page.markup import Markup, el, path
from kdsearch.results.page.names import look, parameter, states_key
from kdsearch.results.page.plot import HALF, Area, Size, axis_x, axis_y, both, chart, figure, hint, key, mark
from kdsearch.results.page.reading import Bounds, Search, Trial
from kdsearch.results.page.scales import Axis, Categories, Scale, short, span_of
from kdsearch.results.page.table import plain_table
from kdsearch.results.page.trials import SCORE, score_scale

__all__ = ["LEAST", "importance", "importances", "parallel", "slices"]

# Below so many scored trials an importance would be a ratio of accidents.
LEAST = 8
_SHADES = 5
SLICE = Size(300, False)


def _axis(search: Search, name: str, start: float, end: float) -> Axis:
    """The whole of what was searched, and beyond it where a trial lay beyond (a known point may)."""
    bounds: Bounds = search.bounds[name]
    given = [t.params[name] for t in search.trials if name in t.params]
    if bounds.choices:
        values = dict.fromkeys([*bounds.choices, *given])
        numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
        return Categories(tuple(sorted(values)) if numbers else tuple(values), start, end)
    return Scale(min([bounds.low, *given]), max([bounds.high, *given]), start, end, log=bounds.log)


def _shade(rank: int, count: int) -> int:
    """Class of a line: 0 for the best fifth of the trials, 4 for the worst."""
    return min(_SHADES - 1, _SHADES * rank // max(count, 1))


def parallel(search: Search) -> Markup | None:
    """Each trial as a line through its hyperparameters and its score; None with fewer than two trials."""
    names = search.params
    trials = sorted(search.scored, key=lambda t: (-t.score, t.number))  # the best are drawn last, on top
    if len(trials) < 2 or not names:
        return None
    place = {t.number: i for i, t in enumerate(reversed(trials))}

    def draw(size: Size) -> Markup:
        return _rows(search, trials, place, size) if size.narrow else _columns(search, trials, place, size)

    shades = [("line", f"parallel r{i}", n) for i, n in enumerate(("best fifth", "", "middle", "", "worst fifth")) if n]
    winner = next((n for _, c, n in states_key(search) if c == "winner"), None)
    entries = [*([("line", "parallel winner", winner)] if winner else []), *shades]
    told = "Each line is a trial. Where the strong lines meet an axis, that hyperparameter did well."
    more = hint(
        "Drag along an axis to keep the trials that pass there, also in the other charts; click the axis to let go."
    )
    return figure("Hyperparameters and score", told, both(draw), key(*entries), more, wide=True)


def _lines(
    search: Search,
    trials: Sequence[Trial],
    place: dict[int, int],
    axes: Sequence[tuple[str, Axis, float]],
    narrow: bool,
) -> list[Markup]:
    lines = []
    for trial in trials:
        points = []
        for name, axis, at in axes:
            value = trial.score if name == "" else trial.params.get(name, math.nan)
            along = axis(value)
            points.append((along, at) if narrow else (at, along))
        class_ = "winner" if trial.number == search.winner else f"r{_shade(place[trial.number], len(trials))}"
        lines.append(el("path", class_=f"m parallel {class_}", d=path(points), data_t=trial.number))
    return lines


def _label(search: Search, trials: Sequence[Trial]) -> str:
    names = ", ".join(parameter(n) for n in search.params)
    return f"Parallel coordinates of {len(trials)} trials: {names}, and the score."


def _columns(search: Search, trials: Sequence[Trial], place: dict[int, int], size: Size) -> Markup:
    names = search.params
    area = Area(size.width, 360, left=50, right=60, top=40, bottom=24)
    apart = (area.x[1] - area.x[0]) / len(names)
    axes: list[tuple[str, Axis, float]] = [
        (n, _axis(search, n, *area.y), area.left + i * apart) for i, n in enumerate(names)
    ]
    scores = score_scale(search, [t.score for t in trials], area.top, area.y[0])
    axes.append(("", scores, area.x[1]))
    parts = []
    for name, axis, at in axes:
        title = parameter(name) if name else SCORE
        anchor = "start" if at < area.left + 1 else "end" if not name else "middle"
        shift = {"start": -36, "end": 54, "middle": 0}[anchor]
        parts.append(el("text", title, class_="label", x=at + shift, y=16, text_anchor=anchor, aria_hidden="true"))
        parts.append(el("line", class_="axis", x1=at, x2=at, y1=area.top, y2=area.y[0], aria_hidden="true"))
        parts += [
            el("text", t.label, class_="halo", x=at + 6, y=t.at + 4, aria_hidden="true")
            for t in axis.ticks(len(axis.values) if isinstance(axis, Categories) else 5)
        ]
        parts.append(_brush(name, at - 12, area.top, 24, area.y[0] - area.top, "y"))
    content = (*_lines(search, trials, place, axes, narrow=False), *parts)
    return chart(size, area.height, _label(search, trials), *content, kind="marks parallels")


def _rows(search: Search, trials: Sequence[Trial], place: dict[int, int], size: Size) -> Markup:
    """On a phone the axes lie, one below another."""
    names = [*search.params, ""]
    apart = 66
    area = Area(size.width, 40 + apart * len(names), left=16, right=16, top=30)
    axes: list[tuple[str, Axis, float]] = []
    for i, name in enumerate(names):
        ends = area.x
        axis: Axis = _axis(search, name, *ends) if name else score_scale(search, [t.score for t in trials], *ends)
        axes.append((name, axis, area.top + 8 + i * apart))
    parts = []
    for name, axis, at in axes:
        title = parameter(name) if name else SCORE
        parts.append(el("line", class_="axis", x1=area.x[0], x2=area.x[1], y1=at, y2=at, aria_hidden="true"))
        parts.append(el("text", title, class_="label halo", x=area.x[0], y=at - 7, aria_hidden="true"))
        for t in axis.ticks(len(axis.values) if isinstance(axis, Categories) else 5):
            parts.append(
                el("text", t.label, class_="halo", x=t.at, y=at + 15, text_anchor="middle", aria_hidden="true")
            )
        parts.append(_brush(name, area.x[0], at - 12, area.x[1] - area.x[0], 24, "x"))
    content = (*_lines(search, trials, place, axes, narrow=True), *parts)
    return chart(size, area.height, _label(search, trials), *content, kind="marks parallels")


def _brush(name: str, x: float, y: float, width: float, height: float, along: str) -> Markup:
    box = {"x": x, "y": y, "width": width, "height": height}
    return el("rect", class_="brush", **box, data_axis=name, data_along=along, aria_hidden="true")


def slices(search: Search) -> Markup | None:
    """Score against each hyperparameter; None without a scored trial."""
    trials = search.scored
    if not trials or not search.params:
        return None
    return figure(
        "Score by hyperparameter",
        "One chart a hyperparameter; each mark is a trial. Trials differ in all hyperparameters at once, so a slope "
        "here is a hint and not a cause.",
        el("div", *(_slice(search, n, trials) for n in search.params), class_="grid3"),
        key(*states_key(search)),
        wide=True,
    )


def _slice(search: Search, name: str, trials: Sequence[Trial]) -> Markup:
    area = Area(SLICE.width, 220)
    x = _axis(search, name, *area.x)
    y = score_scale(search, [t.score for t in trials], *area.y)
    marks = []
    for trial in sorted(trials, key=lambda t: (t.number == search.winner, t.state == "COMPLETE")):
        if name in trial.params:
            shape, class_ = look(search, trial)
            shape = "up" if trial.score > y.high else shape
            marks.append(mark(shape, x(trial.params[name]), y(trial.score), 4, class_, data_t=trial.number))
    ticks = x.ticks(8 if isinstance(x, Categories) else 4)
    title = parameter(name) + (" (log scale)" if isinstance(x, Scale) and x.log else "")
    return chart(
        SLICE,
        area.height,
        f"Score of {len(marks)} trials by {parameter(name)}.",
        axis_y(area, y, SCORE, y.ticks(5)),
        axis_x(area, x, title, ticks),
        *marks,
        kind="marks",
    )


def importances(search: Search) -> dict[str, float]:
    """Share of each hyperparameter in what tells good trials from the rest (PED-ANOVA), largest first; the sum is 1.

    Trials that were stopped count with the best score they had: a score only falls with more epochs, and what was
    stopped is what did badly. Empty with fewer than `LEAST` scored trials, fewer than two hyperparameters, or equal
    scores.
    """
    from kdsearch.search.importance import Searched
    from kdsearch.search.importance import importances as told_apart

    trials = [t for t in search.scored if t.state != "FAIL" and set(search.params) <= set(t.params)]
    if len(trials) < LEAST or len(search.params) < 2 or len({t.score for t in trials}) < 2:
        return {}
    searched = {}
    for name in search.params:
        bounds = search.bounds[name]
        given = [t.params[name] for t in search.trials if name in t.params]
        searched[name] = Searched(bounds.low, bounds.high, bounds.log, bounds.choices, given)
    return told_apart([(t.params, t.score) for t in trials], searched)


def importance(search: Search) -> Markup | None:
    """Importance of the hyperparameters as bars; None where there is no telling."""
    found = importances(search)
    if not found:
        return None
    left = 24 + max(7 * len(parameter(n)) for n in found)
    area = Area(HALF.width, 40 + 34 * len(found) + 40, left=left, right=56, top=8)
    x = Scale(0.0, span_of([0.0, *(100 * v for v in found.values())])[1], *area.x)
    parts = []
    for i, (name, value) in enumerate(found.items()):
        at = area.top + 10 + 34 * i
        parts.append(el("text", parameter(name), x=left - 8, y=at + 15, text_anchor="end"))
        parts.append(el("rect", class_="bar full", x=left, y=at, width=max(x(100 * value) - left, 1), height=20, rx=2))
        parts.append(el("text", f"{100 * value:.0f}%", x=x(100 * value) + 6, y=at + 15))
    names = ", ".join(f"{parameter(n)} {100 * v:.0f}%" for n, v in found.items())
    drawn = chart(
        HALF,
        area.height,
        f"Importance: {names}.",
        axis_x(area, x, "share of what tells good trials from others (%)"),
        el("g", *parts, aria_hidden="true"),
        kind="bars",
    )
    few = " With so few trials it is an indication only." if len(search.scored) < 40 else ""
    told = (
        f"What sets the best quarter of {len(search.scored)} trials apart from all of them (PED-ANOVA); stopped trials "
        f"count with the score they reached.{few}"
    )
    rows = [[parameter(n), short(round(100 * v, 1))] for n, v in found.items()]
    return figure("Importance", told, drawn, table=plain_table(["hyperparameter", "share (%)"], rows, "Importance"))
