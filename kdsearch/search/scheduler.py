"""Early stopping: Ray's schedulers, keyed by the study's trial numbers so that a resumed search continues theirs.

All of them see the best validation score so far, once an epoch. They stop a trial whose score is NaN, which Ray's own
never do, since ``nan < cutoff`` is false. An infinite score is that of a trial that has none yet, such as one whose
network is still being pruned: it goes on, and no rung hears of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from kdsearch.search.choices import check_scheduler

__all__ = ["Asha", "Median", "make_scheduler"]

# Number of a trial and its best score so far after each epoch, as the study keeps them.
Histories = Iterable[tuple[int, Mapping[int, float]]]


class _Key(NamedTuple):
    """Stands for a trial in the books of a scheduler; Tune's own ids change when a search is resumed."""

    trial_id: str


def _key(number: int) -> _Key:
    return _Key(str(number))


def _failed(result: Mapping[str, Any]) -> bool:
    return math.isnan(result["score"])


def _finite(result: Mapping[str, Any]) -> bool:
    return math.isfinite(result["score"])


class Asha(AsyncHyperBandScheduler):
    """Asynchronous successive halving (Li et al. 2020); several brackets make it asynchronous Hyperband.

    Args:
        epochs: of a full trial.
        grace: epochs before the first rung.
        reduction: one trial in so many passes a rung.
        brackets: with their first rungs further and further up.
        seed: of the choice of a bracket.
    """

    def __init__(self, epochs: int, grace: int, reduction: int, brackets: int = 1, seed: int = 0) -> None:
        super().__init__(
            time_attr="epoch",
            metric="score",
            mode="min",
            max_t=epochs,
            grace_period=grace,
            reduction_factor=reduction,
            brackets=brackets,
        )
        self._seed = seed

    def _bracket(self, number: int) -> Any:
        """The bracket of a trial: a function of its number, so that it is the same after a resume."""
        if len(self._brackets) == 1:
            return self._brackets[0]
        sizes = np.array([len(b._rungs) for b in self._brackets], dtype=float)
        weights = np.exp(sizes - sizes.max())
        generator = np.random.default_rng([self._seed, number])
        return self._brackets[generator.choice(len(self._brackets), p=weights / weights.sum())]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Books need no preparation."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """A trial that never ran left nothing behind."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Stop what has failed, what is at its end, and what is worse than its rung allows."""
        if _failed(result) or result["epoch"] >= self._max_t:
            return str(TrialScheduler.STOP)
        if not _finite(result):
            return str(TrialScheduler.CONTINUE)
        return str(self._book(trial.config["number"], result["epoch"], result["score"]))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> None:
        """Enter the last value."""
        if _finite(result):
            self._book(trial.config["number"], result["epoch"], result["score"])

    def _book(self, number: int, epoch: int, score: float) -> Any:
        return self._bracket(number).on_result(_key(number), epoch, -score)

    def rebuild(self, histories: Histories) -> None:
        """Fill the rungs from the values in a study."""
        for number, values in histories:
            for epoch in sorted(values):
                if math.isfinite(values[epoch]):
                    self._book(number, epoch, values[epoch])

    @property
    def rungs(self) -> list[dict[float, dict[str, float]]]:
        """Scores at each rung by trial number, one dictionary a bracket."""
        return [
            {milestone: {name: -value for name, value in recorded.items()} for milestone, recorded in bracket._rungs}
            for bracket in self._brackets
        ]


class Median(MedianStoppingRule):
    """Stops a trial whose best score is worse than the median of the others' running means.

    Args:
        grace: epochs before which no trial is stopped.
    """

    def __init__(self, grace: int) -> None:
        super().__init__(time_attr="epoch", metric="score", mode="min", grace_period=grace, min_samples_required=3)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Stop what has failed and what is worse than the median."""
        if _failed(result):
            return str(TrialScheduler.STOP)
        if not _finite(result):
            return str(TrialScheduler.CONTINUE)
        key, epoch = _key(trial.config["number"]), result["epoch"]
        # An epoch repeated after a crash replaces its first entry.
        self._results[key] = [entry for entry in self._results[key] if entry["epoch"] < epoch]
        kept = {"epoch": epoch, "score": result["score"]}
        return str(super().on_trial_result(tune_controller, cast(Any, key), kept))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> None:
        """Enter the last value, once."""
        key, epoch = _key(trial.config["number"]), result["epoch"]
        if _finite(result) and all(entry["epoch"] < epoch for entry in self._results.get(key, ())):
            self._results[key].append({"epoch": epoch, "score": result["score"]})

    def _on_insufficient_samples(self, tune_controller: Any, trial: Any, time: float) -> str:
        return str(TrialScheduler.CONTINUE)  # Ray's rule would pause, which needs a checkpoint and gains nothing

    def rebuild(self, histories: Histories) -> None:
        """Fill the books from the values in a study."""
        for number, values in histories:
            for epoch in sorted(values):
                if math.isfinite(values[epoch]):
                    self._results[_key(number)].append({"epoch": epoch, "score": values[epoch]})


def make_scheduler(
    name: str, epochs: int, grace: int, reduction: int, seed: int, histories: Histories = ()
) -> TrialScheduler:
    """A scheduler by name, with the books of the trials a study has already.

    ``hyperband`` is the asynchronous form with three brackets: the synchronous one pauses trials, and a search that
    may be killed at any moment is better off without paused ones.

    Raises:
        UserError: the name is unknown.
    """
    check_scheduler(name)
    if name == "none":
        return FIFOScheduler()
    grace = min(grace, epochs)
    if name == "median":
        scheduler: Asha | Median = Median(grace)
    else:
        # A bracket without a rung left would stop nothing.
        rungs = int(math.log(epochs / grace) / math.log(reduction) + 1)
        scheduler = Asha(epochs, grace, reduction, min(3, rungs) if name == "hyperband" else 1, seed)
    scheduler.rebuild(histories)
    return scheduler
