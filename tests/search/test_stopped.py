"""What the Gaussian process sees of trials that were stopped early."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from kdsearch.search.searcher import make_sampler
from kdsearch.search.stopped import expected

SPACE = {"rate": FloatDistribution(1e-4, 1e-2, log=True), "size": CategoricalDistribution([16, 50])}


def trial(number: int, state: TrialState, values: dict[int, float], rate: float = 1e-3) -> FrozenTrial:
    made = create_trial(
        state=state,
        value=min(values.values()) if state is TrialState.COMPLETE else None,
        params={"rate": rate, "size": 16},
        distributions=SPACE,
        intermediate_values=values,
    )
    made.number = number
    return made


def test_a_stopped_trial_gains_what_complete_ones_did_after_its_epoch() -> None:
    trials = [
        trial(0, TrialState.COMPLETE, {1: 5.0, 2: 4.0, 3: 3.0}),
        trial(1, TrialState.COMPLETE, {1: 6.0, 2: 5.5, 3: 5.0}),
        trial(2, TrialState.PRUNED, {1: 7.0}),
        trial(3, TrialState.RUNNING, {1: 7.0, 2: 6.0}),
        trial(4, TrialState.RUNNING, {}),
    ]
    assert expected(trials) == {0: 3.0, 1: 5.0, 2: 7.0 - 1.5, 3: 6.0 - 0.75}


def test_without_a_complete_trial_the_last_score_counts() -> None:
    trials = [trial(0, TrialState.PRUNED, {1: 7.0, 2: 6.0}), trial(1, TrialState.PRUNED, {1: math.inf})]
    assert expected(trials) == {0: 6.0}


def asked(seed: int, objectives: int = 1) -> list[dict[str, float]]:
    """Trials of a valley at rate 1e-3, all but one in four stopped after their first epoch."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["minimize"] * objectives)
    for number in range(16):
        study.sampler = make_sampler("gp", seed + number)
        t = study.ask()
        value = (math.log10(t.suggest_float("rate", 1e-4, 1e-2, log=True)) + 3) ** 2
        t.suggest_categorical("size", [16, 50])
        if objectives > 1:
            study.tell(t, [value, -value])
            continue
        t.report(value + 1, 1)
        if number % 4:
            study.tell(t, state=TrialState.PRUNED)
        else:
            t.report(value, 2)
            study.tell(t, value)
    study.sampler = make_sampler("gp", seed)
    waiting = study.ask(SPACE)  # another trial has no score yet
    assert waiting.params
    return [study.ask(SPACE).params for _ in range(2)]


def test_it_learns_from_stopped_trials() -> None:
    found = asked(0)
    assert all(SPACE["rate"]._contains(p["rate"]) for p in found)
    assert min(abs(math.log10(p["rate"]) + 3) for p in found) < 0.5
    assert asked(0) == found


def test_several_objectives_are_left_to_the_sampler_itself() -> None:
    found = asked(0, objectives=2)
    assert all(SPACE["rate"]._contains(p["rate"]) for p in found)


@pytest.mark.parametrize("count", [0, 3])
def test_the_first_trials_are_random(count: int) -> None:
    study = optuna.create_study(sampler=make_sampler("gp", 1))
    for _ in range(count):
        t = study.ask(SPACE)
        t.report(1.0, 1)
        study.tell(t, state=TrialState.PRUNED)
    assert set(study.ask(SPACE).params) == {"rate", "size"}
