"""What things are called and how they look, everywhere on the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kdsearch.results.page.reading import Search, Trial
from kdsearch.results.page.scales import short

__all__ = ["BASELINES", "STATES", "Look", "look", "parameter", "span", "states_key", "tip"]

BASELINES = {
    "copy_last": "copy last",
    "ridge_ar": "ridge AR(12)",
    "usual_day": "usual day + last deviation",
    "teacher": "teacher",
    "teachers_mean": "mean of the teachers",
    "base": "base model",
    "student_none": "student without KD",
    "student_control": "student without KD, else alike",
    "student_kd": "predetermined student with KD",
    "traditional": "traditional pruning",
}
STATES = {"COMPLETE": "run to the end", "PRUNED": "stopped early", "FAIL": "failed", "RUNNING": "unfinished"}

_GREEK = {"alpha": "α", "beta": "β"}


class Look(NamedTuple):
    """Shape and class of a trial's mark."""

    shape: str
    class_: str


_LOOKS = {
    "COMPLETE": Look("circle", "full"),
    "PRUNED": Look("cross", "stopped"),
    "FAIL": Look("cross", "failed"),
    "RUNNING": Look("ring", "running"),
}
WINNER = Look("diamond", "winner")


def look(search: Search, trial: Trial) -> Look:
    """How a trial is drawn."""
    return WINNER if trial.number == search.winner else _LOOKS[trial.state]


def states_key(search: Search) -> list[tuple[str, str, str]]:
    """Entries of a key for the states that occur."""
    best = "winner" if search.best is not None else "best so far"
    found = [(*WINNER, f"{best}, trial {search.winner}")] if search.winner is not None else []
    for state, name in STATES.items():
        count = sum(t.state == state and t.number != search.winner for t in search.trials)
        if count:
            found.append((*_LOOKS[state], f"{name} ({count})"))
    return found


def parameter(name: str) -> str:
    """A hyperparameter for a reader: ``alpha1`` is α1, as in the paper; the rest without underscores."""
    for word, letter in _GREEK.items():
        if name.startswith(word) and (name[len(word) :].isdigit() or name == word):
            return letter + name[len(word) :]
    return name.replace("_", " ")


def span(seconds: float) -> str:
    """A length of time such as ``3 min 20 s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.2g} s" if seconds < 1 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def tip(search: Search, trial: Trial, params: Sequence[str]) -> list[str]:
    """Lines that describe a trial where it is pointed at."""
    won = ""
    if trial.number == search.winner:
        won = ", the winner" if search.best is not None else ", the best so far"
    score = f"{trial.score:.3f} mph in epoch {trial.best_epoch}" if trial.score == trial.score else "no score"
    length = "" if trial.seconds != trial.seconds else f", {span(trial.seconds)}"
    lines = [
        f"Trial {trial.number}{won}",
        f"{score}",
        f"{STATES[trial.state]} after {trial.epochs} epoch{'' if trial.epochs == 1 else 's'}{length}",
        *(f"{parameter(n)} {short(trial.params[n])}" for n in params if n in trial.params),
    ]
    if trial.cost == trial.cost:
        unit = " parameters" if search.setup.get("cost") != "latency" else " ms a forward pass"
        lines.insert(2, f"{trial.cost:,.6g}{unit}")
    return [*lines, trial.error] if trial.error else lines
