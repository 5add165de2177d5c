"""What the page shows of a search, read from what the search left in its folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from kdsearch.contents import BEST, FRONT, JOURNAL
from kdsearch.errors import UserError
from kdsearch.results.best import read_best
from kdsearch.results.files import read_json
from kdsearch.results.front import read_front
from kdsearch.results.result import Result
from kdsearch.training.metrics import score

__all__ = ["Bounds", "Search", "Trial", "read_search"]


@dataclass(frozen=True)
class Bounds:
    """What a hyperparameter was searched over: a range, or choices."""

    low: float = math.nan
    high: float = math.nan
    log: bool = False
    choices: tuple[Any, ...] = ()

    def describe(self) -> str:
        """In words."""
        if self.choices:
            return ", ".join(f"{c:g}" if isinstance(c, float) else str(c) for c in self.choices)
        return f"{self.low:g} to {self.high:g}{', log scale' if self.log else ''}"


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: counted from 0.
        state: ``COMPLETE``, ``PRUNED``, ``FAIL`` or ``RUNNING``.
        params: searched and fixed hyperparameters.
        curve: best validation score so far (mph) by epoch; finite values only.
        score: lowest validation score, mph; NaN where none was reached.
        best_epoch, epochs: epoch of it, and how many were run.
        seconds: of training and validation.
        started, ended: seconds since 1970; NaN where not known. A running trial ends when the journal was last written.
        worker: number of the worker it ran in; None where the search did not say.
        cost: second objective of a search for a front; NaN where there is none.
        error: why it failed.
        known: it was a point known before the search began.
    """

    number: int
    state: str
    params: Mapping[str, Any]
    curve: Mapping[int, float]
    score: float
    best_epoch: int
    epochs: int
    seconds: float
    started: float
    ended: float
    worker: int | None = None
    cost: float = math.nan
    error: str | None = None
    known: bool = False


@dataclass(frozen=True)
class Search:
    """A search, finished or not.

    Attributes:
        folder: name of its folder, without the path.
        setup: what it began with (``dataset``, ``loss``, ``epochs``, ``scheduler``, ...).
        trials: by number; those that only wait in the queue are left out.
        bounds: of each searched hyperparameter.
        best: the document of best.json; None before the search has finished.
        front: the document of front.json, of a search for a front.
    """

    folder: str
    setup: Mapping[str, Any]
    trials: tuple[Trial, ...]
    bounds: Mapping[str, Bounds]
    best: Mapping[str, Any] | None = None
    front: Mapping[str, Any] | None = None
    points: tuple[Result, ...] = field(default=())

    @property
    def winner(self) -> int | None:
        """Number of the winner's trial: the confirmed one, before that the best so far."""
        if self.best is not None and self.best.get("confirmed"):
            return int(self.best["confirmed"][0]["trial"])
        scored = [t for t in self.scored if t.state != "FAIL"]
        return min(scored, key=lambda t: (t.score, t.number)).number if scored else None

    @property
    def result(self) -> Result | None:
        """What tables need of the winner."""
        return None if self.best is None else Result.read(self.best, BEST)

    @property
    def scored(self) -> list[Trial]:
        """Trials with a finite score."""
        return [t for t in self.trials if math.isfinite(t.score)]

    @property
    def prune(self) -> float | None:
        """Percent of the parameters that is taken away; None without pruning, and where the percent is searched."""
        try:
            return float(self.setup["prune"])
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def pareto(self) -> bool:
        """Whether it is a search for a front."""
        return int(self.setup.get("objectives", 1)) > 1

    @property
    def params(self) -> list[str]:
        """Names of the searched hyperparameters, those of training first, as the tables have them."""
        first = [n for n in ("batch_size", "learning_rate") if n in self.bounds]
        return [*first, *(n for n in self.bounds if n not in first)]

    def count(self, state: str) -> int:
        """Trials that ended so."""
        return sum(t.state == state for t in self.trials)

    def levels(self) -> dict[str, float]:
        """Validation score (mph) of what stands beside the winner, by name; empty before the end."""
        rows = {} if self.best is None else self.best.get("baselines", {})
        found = {}
        for name, row in rows.items():
            figures = {k: v["mean"] if isinstance(v, Mapping) else v for k, v in row.get("validation", {}).items()}
            # The stored score is used where it is: it is the mean of the three MAEs for every horizon there is.
            if figures:
                found[name] = figures["score"] if figures.get("score") is not None else score(figures)
        return found


def read_search(output: Path) -> Search:
    """Read a search folder; nothing in it is changed, so a running search may be read too.

    Raises:
        UserError: the folder holds no search, or its files are damaged.
    """
    from kdsearch.search.study import read_study

    if not output.is_dir():
        raise UserError(f"{output}: there is no such folder; name the --output of a search")
    study = read_study(output)
    best = read_best(output / BEST) if (output / BEST).exists() else None
    front = read_json(output / FRONT, "the front of a search") if (output / FRONT).exists() else None
    if best is not None and not _of_all(best, study.get_trials(deepcopy=False)):
        best = front = None  # the search has grown since: its winner may be another one
    points = () if front is None else tuple(read_front(front, str(output / FRONT)))
    setup = dict(study.user_attrs.get("setup", {}))
    written = (output / JOURNAL).stat().st_mtime
    frozen = [t for t in study.get_trials(deepcopy=False) if t.state.name != "WAITING"]
    trials = tuple(_trial(t, setup.get("fixed") or {}, written) for t in frozen)
    folder = output.resolve().name
    return Search(folder, setup, trials, _bounds(frozen), best, front, points)


def _of_all(best: Mapping[str, Any], trials: Sequence[Any]) -> bool:
    """Whether best.json was written after the last trial that has ended."""
    counted = best.get("search", {})
    told = [counted.get(state) for state in ("completed", "stopped", "failed")]
    ended = sum(t.state.name in ("COMPLETE", "PRUNED", "FAIL") for t in trials)
    return None in told or sum(told) == ended


def _trial(frozen: Any, fixed: Mapping[str, Any], written: float) -> Trial:
    from kdsearch.search.study import outcome, progress

    ended = outcome(frozen)
    curve: dict[int, float] = {}
    for epoch, value in sorted(progress(frozen).items()):
        if math.isfinite(value):
            curve[epoch] = min(value, *curve.values()) if curve else value
    lowest = ended.get("best_score") if ended else min(curve.values(), default=None)
    reached = math.nan if lowest is None else float(lowest)
    worker = frozen.user_attrs.get("worker")
    cost = ended.get("cost", frozen.user_attrs.get("cost"))
    return Trial(
        number=frozen.number,
        state=frozen.state.name,
        params={**frozen.params, **fixed},
        curve=curve,
        score=reached,
        best_epoch=int(ended.get("best_epoch") or min((e for e, v in curve.items() if v == reached), default=0)),
        epochs=int(ended.get("epochs") or max(curve, default=0)),
        seconds=float(ended.get("seconds", math.nan)),
        started=_seconds(frozen.datetime_start),
        ended=_seconds(frozen.datetime_complete) if frozen.datetime_complete else written,
        worker=worker if isinstance(worker, int) else None,
        cost=math.nan if cost is None else float(cost),
        error=ended.get("error"),
        known=bool(frozen.user_attrs.get("known")),
    )


def _seconds(moment: datetime | None) -> float:
    return math.nan if moment is None else moment.timestamp()


def _bounds(trials: Sequence[Any]) -> dict[str, Bounds]:
    found: dict[str, Bounds] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            if name in found:
                continue
            choices = getattr(distribution, "choices", ())
            if choices:
                found[name] = Bounds(choices=tuple(choices))
            else:
                low, high = float(getattr(distribution, "low", 0)), float(getattr(distribution, "high", 1))
                found[name] = Bounds(low, high, bool(getattr(distribution, "log", False)))
    return found
