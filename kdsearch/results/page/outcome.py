"""What came out: the winner's settings and seeds, errors beside the baselines, the front of a search for one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdsearch.results import paper, tables
from kdsearch.results.page.markup import Markup, el, join, path
from kdsearch.results.page.names import BASELINES, look, parameter, states_key
from kdsearch.results.page.plot import NARROW, Area, Size, axis_x, axis_y, both, chart, figure, key, mark
from kdsearch.results.page.reading import Search
from kdsearch.results.page.scales import Scale, span_of
from kdsearch.results.page.table import plain_table, result_table
from kdsearch.results.page.trials import SCORE, score_scale
from kdsearch.search.front import pareto_front

__all__ = ["Row", "beside", "beside_rows", "front", "half_interval", "horizons", "settings"]


def half_interval(values: Sequence[float]) -> float | None:
    """Half the width of the 95% interval of the mean (Student's t); None of a single value."""
    n = len(values)
    if n < 2:
        return None
    from scipy.special import stdtrit

    mean = math.fsum(values) / n
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    return float(stdtrit(n - 1, 0.975)) * math.sqrt(variance / n)


def horizons(figures: Mapping[str, Any]) -> list[int]:
    """Minutes ahead that figures tell the MAE of."""
    return sorted(int(name[4:]) for name in figures if name.startswith("mae_") and name[4:].isdigit())


def settings(search: Search) -> Markup:
    """The winner's hyperparameters beside what was searched and what the paper prints, and its seeds."""
    trial = next((t for t in search.trials if t.number == search.winner), None)
    if trial is None:
        return el("p", "No trial has a score yet.")
    params = trial.params if search.best is None else search.best["params"]
    prune = search.prune if search.best is None else search.best.get("prune")
    name, loss = str(search.setup.get("dataset", "")), str(search.setup.get("loss", ""))
    published = paper.hyperparameters(name, loss, prune) or {}
    order = [*search.params, *(n for n in params if n not in search.params)]
    heads = ["hyperparameter", "value", "searched", *(["paper"] if published else [])]
    rows: list[list[object]] = []
    for n in order:
        if n in params:
            over = search.bounds[n].describe() if n in search.bounds else "fixed"
            rows.append([parameter(n), params[n], over, *([published.get(n)] if published else [])])
    parts = [el("div", plain_table(heads, rows, "Hyperparameters"), class_="scroll", tabindex=0)]
    if search.best is not None:
        parts.append(_seeds(search.best))
    return join(parts)


def _seeds(best: Mapping[str, Any]) -> Markup:
    runs = best.get("per_seed", [])
    minutes = horizons(best["test"])
    heads = ["seed", "best epoch", "validation score (mph)", *(f"test MAE {m} min (mph)" for m in minutes)]
    columns = [[run["validation"]["score"] for run in runs]]
    columns += [[run["test"][f"mae_{m}"] for run in runs] for m in minutes]
    rows: list[list[object]] = [
        [run["seed"], run["epoch"], *(f"{c[i]:.3f}" for c in columns)] for i, run in enumerate(runs)
    ]
    if runs:
        means = [math.fsum(c) / len(c) for c in columns]
        if len(runs) == 1:
            rows.append(["mean", None, *(f"{m:.3f}" for m in means)])
        else:
            deviations = [statistics.stdev(c) if all(map(math.isfinite, c)) else math.nan for c in columns]
            cells = [f"{m:.3f} ± {d:.3f}" for m, d in zip(means, deviations, strict=True)]
            rows.append(["mean ± standard deviation", None, *cells])
            halves = [half_interval(c) or 0.0 for c in columns]
            cells = [f"{m - h:.3f} to {m + h:.3f}" for m, h in zip(means, halves, strict=True)]
            rows.append(["95% interval of the mean", None, *cells])
    caption = "Retrained at full length with seeds that the search has not used"
    return el("div", plain_table(heads, rows, caption), class_="scroll", tabindex=0)


@dataclass(frozen=True)
class Row:
    """A model in the comparison: its name, whether it is the winner, and MAE (mph) by minutes: values of its runs."""

    name: str
    parameters: int | None
    winner: bool
    mean: Mapping[int, float]
    std: Mapping[int, float | None]
    runs: Mapping[int, list[float]]


def beside_rows(best: Mapping[str, Any]) -> list[Row]:
    """The baselines of a best.json in the tables' order, then the winner."""
    minutes = horizons(best["test"])

    def row(name: str, figures: Mapping[str, Any], size: Any, won: bool, runs: Sequence[Mapping[str, float]]) -> Row:
        mean, std = {}, {}
        for m in minutes:
            value = figures.get(f"mae_{m}")
            told = value if isinstance(value, Mapping) else {"mean": value}
            middle = told.get("mean")
            mean[m] = math.nan if middle is None else float(middle)
            std[m] = told.get("std")
        return Row(name, size, won, mean, std, {m: [float(r[f"mae_{m}"]) for r in runs] for m in minutes})

    rows = [
        row(BASELINES.get(n, n), b.get("test", {}), b.get("n_parameters"), False, [])
        for n in (*BASELINES, *(set(best.get("baselines", {})) - set(BASELINES)))
        if (b := best.get("baselines", {}).get(n))
    ]
    pruned = "" if best.get("prune") is None else f", {best['prune']:g}% pruned"
    label = tables.LOSSES[best["loss"]].plain if best["loss"] in tables.LOSSES else best["loss"]
    runs = [run["test"] for run in best.get("per_seed", [])]
    return [*rows, row(f"winner, {label}{pruned}", best["test"], best["n_parameters"], True, runs)]


def beside(search: Search) -> Markup | None:
    """Errors on the test days of the winner and of what stands beside it; None before the end."""
    if search.best is None or search.result is None:
        return None
    rows = beside_rows(search.best)
    minutes = horizons(search.best["test"])

    def draw(size: Size) -> Markup:
        return _dots(rows, minutes, size)

    told = (
        "Mean absolute error of the forecasts on the test days, which nothing was chosen by; further left is better. "
        "Bars are one standard deviation over seeds, small strokes the single seeds of the winner."
    )
    table = join(result_table(t) for t in tables.comparison([search.result]))
    return figure("Errors on the test days", told, both(draw), table=table, wide=True)


def _dots(rows: Sequence[Row], minutes: Sequence[int], size: Size) -> Markup:
    # On a phone the horizons lie below each other, and names above their rows.
    left = 16 + max((7.4 if r.winner else 6.6) * len(r.name) for r in rows) if size != NARROW else 4.0
    row_height, head, gap = 27 if size != NARROW else 42, 26, 34
    panels = []
    ends = [v for r in rows for m in minutes for v in (r.mean[m], *r.runs[m])]
    deviations = [r.mean[m] + k * (r.std[m] or 0.0) for r in rows for m in minutes for k in (-1, 1)]
    low, high = span_of([*ends, *deviations], 0.03)

    across = 1 if size == NARROW else len(minutes)
    width = (size.width - left - 10 - gap * (across - 1)) / across
    block = head + row_height * len(rows) + 40
    for i, m in enumerate(minutes):
        x0 = left + (0 if size == NARROW else i * (width + gap))
        y0 = i * block if size == NARROW else 0.0
        area = Area(x0 + width, y0 + block, left=x0, right=0, top=y0 + head, bottom=40)
        # Each horizon has its own axis on a wide page, where it would else be mostly empty.
        mine = [v for r in rows for v in (r.mean[m], *r.runs[m], *(r.mean[m] + k * (r.std[m] or 0) for k in (-1, 1)))]
        x = Scale(*span_of(mine, 0.06), x0, x0 + width) if size != NARROW else Scale(low, high, x0, x0 + width)
        panels.append(_panel(rows, m, area, x, row_height, "above" if size == NARROW else "beside" if i == 0 else ""))
    label = f"Test MAE in mph at {', '.join(map(str, minutes))} minutes: " + "; ".join(
        f"{r.name} {' / '.join(f'{r.mean[m]:.2f}' for m in minutes)}" for r in rows
    )
    return chart(size, block * (len(minutes) if size == NARROW else 1), label, *panels)


def _panel(rows: Sequence[Row], minutes: int, area: Area, x: Scale, height: float, named: str) -> Markup:
    floor = area.y[0]
    ticks = x.ticks(5)
    parts = [el("line", class_="grid", x1=t.at, x2=t.at, y1=area.top, y2=floor) for t in ticks]
    parts.append(el("text", f"{minutes} minutes ahead", class_="label strong", x=area.left, y=area.top - 10))
    for i, row in enumerate(rows):
        at = area.top + height * (i + 0.5)
        class_ = "winner" if row.winner else "other"
        if named:
            name_class = "strong" if row.winner else None
            if named == "beside":
                parts.append(el("text", row.name, class_=name_class, x=area.left - 10, y=at + 4, text_anchor="end"))
            else:
                parts.append(el("text", row.name, class_=f"halo {name_class or ''}", x=area.left, y=at - 9))
                at += 6
        mean = row.mean[minutes]
        if not math.isfinite(mean):
            continue
        deviation = row.std[minutes]
        if deviation:
            parts.append(
                el("line", class_=f"bar-line {class_}", x1=x(mean - deviation), x2=x(mean + deviation), y1=at, y2=at)
            )
        for value in row.runs[minutes] if len(row.runs[minutes]) > 1 else ():
            parts.append(el("line", class_="seed", x1=x(value), x2=x(value), y1=at - 8, y2=at - 3))
        parts.append(mark("diamond" if row.winner else "circle", x(mean), at, 4, class_))
        right = x(mean) < area.left + 0.72 * (area.x[1] - area.left)
        offset = (x(mean + (deviation or 0)) + 9) if right else (x(mean - (deviation or 0)) - 9)
        parts.append(
            el("text", f"{mean:.2f}", class_="value halo", x=offset, y=at + 4, text_anchor="start" if right else "end")
        )
    parts.append(axis_x(area, x, "MAE (mph)", ticks))
    return el("g", *parts, aria_hidden="true")


def front(search: Search) -> Markup | None:
    """Score against cost of a search for a front; None of any other."""
    trials = [t for t in search.scored if math.isfinite(t.cost) and t.state != "FAIL"]
    if not search.pareto or not trials:
        return None
    latency = search.setup.get("cost") == "latency"
    name = "forward pass (ms)" if latency else "parameters"

    def cost_of(point: Any) -> float:
        return float(point.cost["forward_ms" if latency else "parameters"])

    best = pareto_front(trials, lambda t: (t.score, t.cost))
    costs = [t.cost for t in trials] + [cost_of(p) for p in search.points]
    log = min(costs) > 0 and max(costs) / min(costs) > 4
    low, high = (min(costs) / 1.1, max(costs) * 1.1) if log else span_of(costs)
    # The whole front is on the axis, its cheap end too; far worse trials stand at the upper end.
    shown = [t.score for t in best]
    for p in search.points:
        deviation = p.validation["score"].std or 0.0
        shown += [p.score + deviation, p.score - deviation]
    scores = [t.score for t in trials]
    shown.append(min(max(scores), score_scale(search, scores, 0, 1).high))
    beyond = sum(t.score > span_of(shown)[1] for t in trials)

    def draw(size: Size) -> Markup:
        area = Area(size.width, 380 if not size.narrow else 320, left=52)
        x = Scale(low, high, *area.x, log=log)
        y = Scale(*span_of(shown), *area.y)
        steps: list[tuple[float, float]] = []
        for t in best:
            if steps:
                steps.append((x(t.cost), steps[-1][1]))
            steps.append((x(t.cost), y(t.score)))
        parts = [el("path", class_="best-line", d=path(steps))]
        for t in trials:
            shape, class_ = look(search, t)
            shape, class_ = ("circle", "full") if class_ == "winner" else (shape, class_)
            parts.append(mark("up" if t.score > y.high else shape, x(t.cost), y(t.score), 3.6, class_, data_t=t.number))
        for p in search.points:
            at, deviation = x(cost_of(p)), p.validation["score"].std or 0.0
            parts.append(
                el("line", class_="bar-line winner", x1=at, x2=at, y1=y(p.score - deviation), y2=y(p.score + deviation))
            )
            parts.append(mark("diamond", at, y(p.score), 4, "winner"))
        label = f"Front of score and {name}: {len(best)} of {len(trials)} trials lie on it."
        return chart(
            size,
            area.height,
            label,
            axis_y(area, y, SCORE),
            axis_x(area, x, name + (" (log scale)" if log else ""), x.ticks(4 if size.narrow else 8)),
            *parts,
            kind="marks",
        )

    told = (
        "Every trial by what it costs and how well it forecasts; towards the lower left is better. The line joins the "
    )
    told += "trials that no other beats in both."
    if beyond:
        told += f" {beyond} of higher error {'is' if beyond == 1 else 'are'} marked ▲ at the upper end."
    if search.points:
        told += " Diamonds are points that were retrained, with one standard deviation over seeds."
    entries = [e for e in states_key(search) if e[1] != "winner"]
    if search.points:
        entries.insert(0, ("diamond", "winner", f"retrained ({len(search.points)})"))
    if search.points:
        table = join(result_table(t) for t in tables.front(search.points))
    else:
        rows = [[t.number, t.cost, t.score] for t in best]
        table = plain_table(["trial", name, "score (mph)"], rows, "Trials on the front")
    return figure("The front", told, both(draw), key(*entries), table=table, wide=True)


def paper_table(search: Search) -> Markup | None:
    """Our hyperparameters and the published ones, where the paper has this dataset and loss."""
    result = search.result
    if result is None or paper.hyperparameters(result.dataset, result.loss, result.prune) is None:
        return None
    make = tables.table2 if result.prune is None else tables.table3
    return join(
        [
            el("h3", "Beside the paper"),
            el("p", "Hyperparameters of this search and those the paper prints for the same dataset and loss."),
            *(result_table(t) for t in make([result], True)),
        ]
    )
