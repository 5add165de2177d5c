"""Which hyperparameters tell good trials from the rest, by Optuna."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Searched", "importances"]

# The best quarter against all: a tenth of a short search would be one trial.
_QUANTILE = 0.25


class Searched(NamedTuple):
    """What a hyperparameter was searched over, and all values it was given, which may lie beyond."""

    low: float
    high: float
    log: bool
    choices: Sequence[Any]
    given: Sequence[Any]


def importances(
    trials: Sequence[tuple[Mapping[str, Any], float]], searched: Mapping[str, Searched]
) -> dict[str, float]:
    """Share of each hyperparameter in what sets the best quarter of trials apart (PED-ANOVA); the sum is 1.

    Args:
        trials: hyperparameters, all of ``searched`` among them, and score; the lower the better.
        searched: by name.

    Returns:
        Largest first; empty where trials differ too little to tell.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {name: _distribution(what) for name, what in searched.items()}
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.create_trial(params={n: params[n] for n in searched}, distributions=distributions, value=score)
            for params, score in trials
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=_QUANTILE, evaluate_on_local=True)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finite = {n: float(v) for n, v in found.items() if math.isfinite(v)}
    return finite if sum(finite.values()) > 0 else {}


def _distribution(what: Searched) -> Any:
    import optuna

    if what.choices:
        return optuna.distributions.CategoricalDistribution(tuple(dict.fromkeys([*what.choices, *what.given])))
    low, high = min([what.low, *what.given]), max([what.high, *what.given])
    return optuna.distributions.FloatDistribution(low, high, log=what.log)
