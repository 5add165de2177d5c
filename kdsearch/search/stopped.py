"""What a Gaussian process may learn from trials that were stopped early.

Optuna's learns from complete trials only, and where two of three trials are stopped it learns little. Here a stopped
trial counts with the score it would have reached: its last one, and what complete trials gained after that epoch.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

__all__ = ["WithStopped", "expected"]

# The process takes cubic time; more than the best so many would make it the slowest part of a search.
_MOST = 150


def expected(trials: Sequence[FrozenTrial]) -> dict[int, float]:
    """The score of each trial at full length, by its number; trials without a finite score are left out.

    Args:
        trials: complete, stopped and running, with the best score so far under each epoch.
    """
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    found: dict[int, float] = {}
    for trial in trials:
        values = {e: v for e, v in trial.intermediate_values.items() if math.isfinite(v)}
        if trial.state is TrialState.COMPLETE and trial.value is not None:
            found[trial.number] = trial.value
        elif values:
            epoch = max(values)
            gains = [
                t.value - t.intermediate_values[epoch]
                for t in complete
                if t.value is not None and math.isfinite(t.intermediate_values.get(epoch, math.nan))
            ]
            found[trial.number] = values[epoch] + (statistics.median(gains) if gains else 0.0)
    return found


class WithStopped(BaseSampler):
    """A sampler that sees stopped and running trials as if they had been completed.

    Args:
        sampler: of one objective; with several it is asked as it is.
        seed: of hyperparameters that are drawn one by one.
    """

    def __init__(self, sampler: BaseSampler, seed: int) -> None:
        self._sampler, self._random = sampler, RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Hyperparameters that all trials have in common."""
        if len(study.directions) > 1:
            return self._sampler.infer_relative_search_space(study, trial)
        space = IntersectionSearchSpace(include_pruned=True).calculate(study)
        return {name: distribution for name, distribution in space.items() if not distribution.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Ask the sampler in a study where every trial is complete."""
        if len(study.directions) > 1 or not search_space:
            return self._sampler.sample_relative(study, trial, search_space)
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        trials = [
            t
            for t in study.get_trials(deepcopy=False, states=states)
            if t.number != trial.number and search_space.keys() <= t.params.keys()
        ]
        scores = expected(trials)
        best = sorted(scores, key=scores.__getitem__)[:_MOST]
        seen = optuna.create_study(sampler=RandomSampler(seed=0))
        for other in trials:
            if other.number in scores and other.number not in best:
                continue
            seen.add_trial(_as_complete(other, scores.get(other.number), search_space))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            asked = seen._storage.get_trial(seen.ask()._trial_id)
            return self._sampler.sample_relative(seen, asked, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one hyperparameter by itself, as the first trials have it."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)


def _as_complete(trial: FrozenTrial, score: float | None, space: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """The trial, complete with a score; still running where it has none."""
    return optuna.trial.create_trial(
        state=TrialState.RUNNING if score is None else TrialState.COMPLETE,
        value=score,
        params={name: trial.params[name] for name in space},
        distributions={name: trial.distributions[name] for name in space},
    )
