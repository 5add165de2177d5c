"""TPE whose time for a suggestion does not grow with the search.

Optuna's walks over all trials for each suggestion and draws from a kernel on each. It splits off the best, at most 25,
and weighs the others the less the older they are. So of a long search it is shown its best and its latest trials.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Container, Sequence
from typing import Any, cast

from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

__all__ = ["MOST", "RecentTPE", "best_and_latest"]

# As many as Optuna ever counts as the good ones, which are a tenth of the trials up to then.
_BEST = 25
# Trials that are shown. A tenth of them must be no less than that: the model of a shorter search is Optuna's own.
MOST = 256


def best_and_latest(trials: Sequence[FrozenTrial], most: int = MOST) -> list[FrozenTrial]:
    """Of many trials of one objective to be minimised, those that TPE is to see, in their order.

    The best of the complete ones and the best of the stopped ones stay, as TPE ranks them, and the latest.
    """
    if len(trials) <= most:
        return list(trials)
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    stopped = [t for t in trials if t.state is TrialState.PRUNED]
    kept = {t.number for t in heapq.nsmallest(_BEST, complete, key=lambda t: cast("float", t.value))}
    kept |= {t.number for t in heapq.nsmallest(_BEST, stopped, key=_standing)}
    for trial in reversed(trials):
        if len(kept) >= most:
            break
        kept.add(trial.number)
    return [t for t in trials if t.number in kept]


class RecentTPE(TPESampler):
    """Optuna's TPE, shown the best and the latest trials of a study of one objective."""

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As Optuna's."""
        return super().sample_relative(_shown(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As Optuna's."""
        return super().sample_independent(_shown(study), trial, param_name, param_distribution)


class _Shown:
    """A study that hides its older trials."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        return best_and_latest(self._study.get_trials(deepcopy, states))

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return best_and_latest(self._study._get_trials(deepcopy, states, use_cache))


def _shown(study: Study) -> Study:
    # A front's best are many and ranked otherwise.
    return study if len(study.directions) > 1 else cast("Study", _Shown(study))


def _standing(trial: FrozenTrial) -> tuple[float, float]:
    """The further a stopped trial came, and the lower its last score there, the better."""
    if not trial.intermediate_values:
        return 1, 0.0
    epoch, score = max(trial.intermediate_values.items())
    return -epoch, math.inf if math.isnan(score) else score
