"""A sampler that has seen another search.

The trials of a prior have no score that compares with this search's: each stands among the trials here where it stood
among its own, so a prior from an easier dataset is not all good nor all bad. It fades: with every trial of this search
that has a score it counts one trial less, the middling ones first, since they tell good from bad least.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

__all__ = ["WithPrior", "fading", "standing_scores"]

Prior = Sequence[tuple[Mapping[str, Any], float]]


def fading(prior: Prior, seen: int) -> Prior:
    """What is left of a prior once this search has seen so many trials: those that stood best and worst."""
    left = max(0, len(prior) - seen)
    return sorted(prior, key=lambda item: -abs(item[1] - 0.5))[:left]


def standing_scores(standings: Sequence[float], scores: Sequence[float]) -> list[float]:
    """A score for each standing: the quantile of the scores here; of fewer than two scores the standing itself.

    Args:
        standings: 0 for the best of its search, 1 for the worst.
        scores: finite ones of this search; the lower the better.
    """
    finite = [s for s in scores if math.isfinite(s)]
    if len(finite) < 2:
        middle = finite[0] if finite else 0.5
        return [middle - 0.5 + s for s in standings]
    return [float(v) for v in np.quantile(finite, list(standings))]


class WithPrior(BaseSampler):
    """A sampler of one objective that is asked in a study which begins with the trials of a prior.

    Args:
        sampler: one that learns from complete, stopped and running trials, such as TPE.
        prior: hyperparameters, all that are searched, with their standing.
    """

    def __init__(self, sampler: BaseSampler, prior: Prior) -> None:
        self._sampler, self._prior = sampler, list(prior)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What the sampler says: hyperparameters that trials have in common."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Ask the sampler, which also sees what is left of the prior."""
        if not search_space:
            return self._sampler.sample_relative(study, trial, search_space)
        with_prior, asked = self._joined(study, trial, search_space)
        return self._sampler.sample_relative(with_prior, asked, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Ask the sampler; it is the way of the first trials, when this search has no space in common yet."""
        with_prior, asked = self._joined(study, trial, {param_name: param_distribution})
        return self._sampler.sample_independent(with_prior, asked, param_name, param_distribution)

    def _joined(self, study: Study, trial: FrozenTrial, space: Mapping[str, BaseDistribution]) -> tuple[Study, Any]:
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        own = [t for t in study.get_trials(deepcopy=False, states=states) if t.number != trial.number]
        scores = [min(t.intermediate_values.values()) for t in own if t.intermediate_values]
        left = [(p, s) for p, s in fading(self._prior, len(scores)) if space.keys() <= p.keys()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            joined = optuna.create_study(direction=study.direction, sampler=RandomSampler(seed=0))
            for (params, _), value in zip(left, standing_scores([s for _, s in left], scores), strict=True):
                kept = {n: params[n] for n in space if space[n]._contains(space[n].to_internal_repr(params[n]))}
                joined.add_trial(
                    optuna.trial.create_trial(
                        value=value, params=kept, distributions={name: space[name] for name in kept}
                    )
                )
            for other in own:
                joined.add_trial(other)
            return joined, joined._storage.get_trial(joined.ask()._trial_id)
