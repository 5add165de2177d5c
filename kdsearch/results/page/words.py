"""The search in a few sentences, for a reader who has a minute."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from kdsearch.results.gain import gain_over
from kdsearch.results.page.markup import Markup, el, join
from kdsearch.results.page.names import BASELINES, parameter, span
from kdsearch.results.page.outcome import Row, beside_rows, horizons
from kdsearch.results.page.parameters import importances
from kdsearch.results.page.reading import Search
from kdsearch.results.page.scales import short
from kdsearch.results.page.table import pairs
from kdsearch.results.tables import LOSSES

__all__ = ["begun_with", "compared", "facts", "sentences", "status", "title", "what_was_run", "without_folders"]


def title(search: Search) -> str:
    """Heading of the page."""
    dataset, loss = str(search.setup.get("dataset", "?")), str(search.setup.get("loss", "?"))
    label = LOSSES[loss].plain if loss in LOSSES else loss
    if search.pareto:
        return f"Search for a front: {label} on {dataset}"
    pruned = "" if search.prune is None else f", pruned by {search.prune:g}%"
    return f"Search: {label} on {dataset}{pruned}"


def status(search: Search) -> str:
    """Whether it has finished."""
    if search.best is not None:
        return "finished"
    return "not finished: what is shown is what there is so far, and the test days have not been looked at"


# Baselines that the summary has a sentence about, in its order.
_BESIDE = ("student_control", "student_none", "student_kd", "traditional", "teacher", "teachers_mean")


def sentences(search: Search) -> list[str]:
    """The summary: what ran, what won, how it stands beside the rest, what to keep in mind."""
    out = [_ran(search)]
    if search.best is None:
        out.append(_so_far(search))
        return out
    best = search.best
    rows = beside_rows(best)
    minutes = horizons(best["test"])
    runs = len(best.get("seeds", []))
    winner = rows[-1]
    seeds = f"{runs} seeds" if runs > 1 else "one seed"
    what = "best configuration" if not search.pareto else "point with the lowest validation error"
    if search.points:
        sizes = sorted(p.n_parameters for p in search.points)
        out.append(
            f"{len(sizes)} points along the front were trained again, from {sizes[0]:,} to {sizes[-1]:,} parameters."
        )
    out.append(
        f"The {what}, trial {search.winner}, was trained again at full length with {seeds} that the search "
        f"had not used. On the test days its mean absolute error is {_figures(winner, minutes)} mph at "
        f"{_list([str(m) for m in minutes])} minutes ahead, with {winner.parameters or 0:,} parameters."
    )
    if any(t.known for t in search.trials if t.number == search.winner):
        out.append("Its hyperparameters were known before the search: no suggestion of the sampler did better.")
    gain = gain_over(best)
    if gain is not None:
        out.append(f"Its {gain}.")
    # The usual student without KD has another batch size and rate than the winner: its control says what KD is worth.
    told = {gain.rival if gain else ""} | (
        {"student_none"} if "student_control" in best.get("baselines", {}) else set()
    )
    out += [text for name in _BESIDE if name not in told and (text := compared(rows, name))]
    simple = [r for r in rows if r.name in (BASELINES[name] for name in ("copy_last", "ridge_ar", "usual_day"))]
    if simple:
        rival = min(simple, key=lambda r: _mean(r))
        beats = sum(winner.mean[m] < min(r.mean[m] for r in simple) for m in minutes)
        where = "at every horizon" if beats == len(minutes) else f"at {beats} of {len(minutes)} horizons"
        verdict = f"It beats all simple forecasts {where}" if beats else "At no horizon does it beat all simple ones"
        out.append(f"{verdict}; the best of them by the mean is {rival.name} ({_figures(rival, minutes)} mph).")
    found = importances(search)
    if found:
        first, share = next(iter(found.items()))
        out.append(f"What mattered most among the hyperparameters was {parameter(first)} ({100 * share:.0f}%).")
    return out


def _ran(search: Search) -> str:
    trials, done = len(search.trials), search.count("COMPLETE")
    parts = [f"{done} ran to the end", f"{search.count('PRUNED')} were stopped early"]
    if search.count("FAIL"):
        parts.append(f"{search.count('FAIL')} failed")
    if search.count("RUNNING"):
        parts.append(f"{search.count('RUNNING')} are unfinished")
    seconds = math.fsum(t.seconds for t in search.trials if math.isfinite(t.seconds))
    length = int(search.setup.get("epochs", 0))
    full, spared = trials * length, sum(length - t.epochs for t in search.trials if t.state == "PRUNED")
    saved = f" Early stopping spared {100 * spared / full:.0f}% of the epochs." if spared > 0 and search.best else ""
    return f"Of {trials} trial{'' if trials == 1 else 's'}, {_list(parts)}, {span(seconds)} of training in all.{saved}"


def _so_far(search: Search) -> str:
    trial = next((t for t in search.trials if t.number == search.winner), None)
    if trial is None:
        return "No trial has a score yet."
    chosen = ", ".join(f"{parameter(n)} {short(trial.params[n])}" for n in search.params if n in trial.params)
    return (
        f"The best so far is trial {trial.number} with a validation error of {trial.score:.3f} mph ({chosen}). It is "
        "one seed, and the luckiest of many: the confirmation that follows will likely find it a little worse."
    )


def compared(rows: Sequence[Row], name: str) -> str | None:
    """The winner beside one baseline in a sentence that says when seeds differ by more than the two do."""
    other = next((r for r in rows if r.name == BASELINES[name]), None)
    winner = rows[-1]
    if other is None or not math.isfinite(_mean(other)):
        return None
    difference = _mean(winner) - _mean(other)
    minutes = list(winner.mean)
    shown = f"({_figures(other, minutes)} mph)"
    share = abs(difference) / _mean(other)
    if name in ("teacher", "teachers_mean"):
        times = (other.parameters or 0) / max(winner.parameters or 1, 1)
        size = f", {times:.0f} times as large," if times >= 1.5 else ""
        share = abs(difference) / _mean(winner)  # it is the teacher that is so much better than the winner
        how = "better" if difference > 0 else "worse"
        how = f"{100 * share:.1f}% {how} than it" if share >= 0.0005 else "level with it"
        return f"The {other.name}{size} is {how} {shown}."
    spread = [math.hypot(winner.std[m] or 0.0, other.std[m] or 0.0) for m in minutes]
    several = any(winner.std[m] is not None and other.std[m] is not None for m in minutes)
    if several and abs(difference) < math.fsum(spread) / len(spread):
        return f"It is not to be told from the {other.name} {shown}: seeds differ by more than the two do."
    than = f"{100 * share:.1f}% {'worse' if difference > 0 else 'better'} than the {other.name} {shown}"
    luck = "" if several else "; with a single seed luck is not ruled out"
    return f"It is {than}{luck}."


def _figures(row: Row, minutes: Sequence[int]) -> str:
    return " / ".join(f"{row.mean[m]:.2f}" for m in minutes)


def _mean(row: Row) -> float:
    values = list(row.mean.values())
    return math.fsum(values) / len(values) if values else math.nan


def _list(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def facts(search: Search) -> Markup:
    """The few numbers that matter, large."""
    tiles: list[tuple[str, str, str]] = []
    if search.best is not None:
        row = beside_rows(search.best)[-1]
        for m in row.mean:
            deviation = row.std[m]
            more = f"± {deviation:.2f} mph" if deviation is not None else "mph, one seed"
            tiles.append((f"test MAE, {m} min", f"{row.mean[m]:.2f}", more))
        size = search.best.get("teacher", {}).get("n_parameters")
        more = f"{size / row.parameters:.0f}× smaller than the teacher" if size and row.parameters else ""
        tiles.append(("parameters", f"{row.parameters:,}", more))
    else:
        scored = [t.score for t in search.scored if t.state != "FAIL"]
        tiles.append(("best validation MAE", f"{min(scored):.3f}" if scored else "none", "mph, so far"))
    tiles.append(("trials", str(len(search.trials)), f"{search.count('COMPLETE')} to the end"))
    seconds = [t.ended for t in search.trials if math.isfinite(t.ended)]
    began = [t.started for t in search.trials if math.isfinite(t.started)]
    if seconds and began:
        tiles.append(("from first trial to last", span(max(seconds) - min(began)), ""))
    return el(
        "ul",
        *(el("li", el("span", n, class_="name"), el("strong", v), el("span", m, class_="more")) for n, v, m in tiles),
        class_="facts",
    )


def what_was_run(search: Search) -> Markup:
    """Command, versions, fingerprints, and the settings that the search began with."""
    parts: list[Markup] = []
    best = search.best
    if best is not None and best.get("command"):
        parts.append(el("p", "Command:"))
        parts.append(el("pre", el("code", without_folders(str(best["command"])))))
    names = {
        "scheduler": "early stopping",
        "sampler": "sampler",
        "epochs": "epochs of a full trial",
        "grace": "epochs before the first stop",
        "reduction": "one in so many goes on",
        "seed": "seed",
        "fixed": "fixed hyperparameters",
        "recipe": "recipe",
        "cost": "cost of the front",
    }
    settings: list[tuple[str, object]] = []
    pruning = {} if best is None else best.get("pruning", {})
    if pruning:
        settings.append(("network that is pruned", "base model" if pruning["start"] == "base" else pruning["start"]))
        settings.append(("worth of a channel", {"kdis": "KDIS, Eq. (12)", "taylor": "Taylor"}[pruning["criterion"]]))
        settings.append(("stages", short(pruning["stages"])))
    for key, name in names.items():
        value = search.setup.get(key)
        if isinstance(value, Mapping):
            value = ", ".join(f"{parameter(k)} {short(v)}" for k, v in value.items()) or "none"
        if value is not None:
            settings.append((name, short(value)))
    warm = search.setup.get("warm_start")
    if warm:
        settings.append(("begun with", begun_with(str(warm["source"]), len(warm["points"]), len(warm["prior"]))))
    marks = [(n, search.setup[n]) for n in ("data", "teacher", "space") if n in search.setup]
    blocks = [("Settings", settings), *(_record(best) if best is not None else [("Fingerprints", marks)])]
    parts.append(el("div", *(el("div", el("h3", n), pairs(items)) for n, items in blocks if items), class_="grid2"))
    return join(parts)


def begun_with(source: str, points: int, prior: int) -> str:
    """What a search took of another one."""
    told = f"{points} best point{'' if points == 1 else 's'} of {source}"
    return f"{told}, {prior} of its trials as a prior" if prior else told


def without_folders(command: str) -> str:
    """A command whose absolute paths keep their last part only: the page may go where the folders are nobody's."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    shown = []
    for word in words:
        name, sign, value = word.rpartition("=")
        path = PurePath(value)
        shown.append(f"{name}{sign}…/{path.name}" if path.is_absolute() else word)
    return " ".join(word if "…" in word else shlex.quote(word) for word in shown)


def _record(best: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, object]]]]:
    seconds = best.get("search", {}).get("seconds", {})
    names = {
        "teacher": "teacher",
        "base": "base model",
        "bank": "teacher bank",
        "search": "search, in the last run",
        "trials": "trials, added up",
        "confirm": "confirmation",
        "student_none": "students without KD",
        "student_control": "without KD, else alike",
        "student_kd": "predetermined students",
        "traditional": "traditional pruning",
    }
    times: list[tuple[str, object]] = [(names.get(n, n), span(float(s))) for n, s in seconds.items() if s is not None]
    mark = best.get("fingerprint", {})
    prints: list[tuple[str, object]] = [(n, mark[n]) for n in ("code", "data", "protocol") if n in mark]
    versions: list[tuple[str, object]] = [(n, v) for n, v in (mark.get("versions") or {}).items()]
    return [("Where the time went", times), ("Fingerprints", prints), ("Versions", versions)]
