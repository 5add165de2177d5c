"""Early stopping under two objectives: a small network may be worse than a large one and still go on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from kdsearch.search.choices import check_scheduler
from kdsearch.search.front import ranks

__all__ = ["CostHistory", "ParetoAsha", "make_pareto"]

# Number of a trial, its best score so far after each epoch, and its cost; None where it came not so far.
CostHistory = tuple[int, Mapping[int, float], float | None]


class ParetoAsha(FIFOScheduler):
    """Asynchronous successive halving on two objectives (Schmucker et al. 2021, with non-dominated sorting).

    At a rung, a trial goes on if fewer than one in ``reduction`` of the trials seen there lie on better fronts of
    (score, cost) than its own. So what lies on the first front always goes on. As in
    :class:`kdsearch.search.scheduler.Asha` a score of NaN ends a trial, and one of infinity means that it has none yet.

    Args:
        epochs: of a full trial.
        grace: epochs before the first rung.
        reduction: one trial in so many passes a rung.
        histories: trials that a study has already.

    Attributes:
        rungs: by epoch, highest first: score and cost by trial number.
    """

    def __init__(self, epochs: int, grace: int, reduction: int, histories: Iterable[CostHistory] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._epochs, self._reduction = epochs, reduction
        milestones: list[int] = []
        epoch = min(grace, epochs)
        while epoch < epochs:
            milestones.append(epoch)
            epoch *= reduction
        self.rungs: dict[int, dict[int, tuple[float, float]]] = {m: {} for m in reversed(milestones)}
        for number, values, cost in histories:
            for reached in sorted(values):
                if math.isfinite(values[reached]) and cost is not None:
                    self._book(number, reached, values[reached], cost)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Stop what has failed, what is at its end, and what too many others beat."""
        if math.isnan(result["score"]) or result["epoch"] >= self._epochs:
            return str(TrialScheduler.STOP)
        if not math.isfinite(result["score"]) or result["cost"] is None:
            return str(TrialScheduler.CONTINUE)
        goes_on = self._book(trial.config["number"], result["epoch"], result["score"], result["cost"])
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> None:
        """Enter the last value."""
        if math.isfinite(result["score"]) and result["cost"] is not None:
            self._book(trial.config["number"], result["epoch"], result["score"], result["cost"])

    def _book(self, number: int, epoch: int, score: float, cost: float) -> bool:
        """Enter a trial at the highest rung it is new to; whether it goes on from there."""
        for milestone, seen in self.rungs.items():
            if epoch < milestone or number in seen:
                continue
            seen[number] = (score, cost)
            found = ranks(list(seen.values()))
            better = sum(rank < found[-1] for rank in found)
            return better * self._reduction < len(found)
        return True


def make_pareto(
    name: str, epochs: int, grace: int, reduction: int, histories: Iterable[CostHistory] = ()
) -> TrialScheduler:
    """The scheduler of a search of two objectives.

    Raises:
        UserError: that one compares scores alone.
    """
    check_scheduler(name, objectives=2)
    if name == "none":
        return FIFOScheduler()
    return ParetoAsha(epochs, grace, reduction, histories)
