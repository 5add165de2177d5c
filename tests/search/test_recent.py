"""TPE that is shown the best and the latest trials: Optuna's own in a short search, no slower in a long one."""

from __future__ import annotations

import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from kdsearch.search.recent import MOST, RecentTPE, best_and_latest

SPACE = {name: FloatDistribution(0.0, 1.0) for name in "xy"}


def trial(k: int) -> FrozenTrial:
    """One of three is complete; no two scores are the same."""
    x, y = (k * 0.618) % 1, (k * 0.414) % 1
    score = (x - 0.3) ** 2 + (y - 0.6) ** 2
    state = TrialState.COMPLETE if k % 3 == 0 else TrialState.PRUNED
    value = score if state is TrialState.COMPLETE else None
    values = dict.fromkeys(range(1, 10 if value is not None else k % 3 + 1), score)
    made = create_trial(
        state=state, value=value, params={"x": x, "y": y}, distributions=dict(SPACE), intermediate_values=values
    )
    made.number = k
    return made


def study(sampler: optuna.samplers.BaseSampler, trials: int) -> optuna.Study:
    made = optuna.create_study(sampler=sampler)
    for k in range(trials):
        made.add_trial(trial(k))
    return made


def suggestions(sampler: optuna.samplers.BaseSampler, trials: int, count: int = 5) -> list[dict[str, float]]:
    made = study(sampler, trials)
    return [dict(made.ask(dict(SPACE)).params) for _ in range(count)]


def test_a_short_search_is_optunas() -> None:
    for trials in (0, 5, 40, MOST - 10):
        assert suggestions(RecentTPE(seed=3), trials) == suggestions(TPESampler(seed=3), trials)


def test_of_a_long_search_the_best_and_the_latest_are_shown() -> None:
    trials = [trial(k) for k in range(2000)]
    shown = best_and_latest(trials)
    numbers = [t.number for t in shown]
    assert len(shown) == MOST
    assert numbers == sorted(numbers)
    assert set(range(2000 - MOST + 50, 2000)) <= set(numbers)
    complete = sorted((t for t in trials if t.value is not None), key=lambda t: t.value or 0.0)
    assert {t.number for t in complete[:25]} <= set(numbers)
    # Of the stopped ones those that came furthest rank first, whatever their score.
    stopped = sorted((t.number for t in trials if t.number % 3 == 2), key=lambda k: trials[k].intermediate_values[2])
    assert set(stopped[:25]) <= set(numbers)


def test_a_long_search_is_still_led_by_its_best() -> None:
    """The very best trial came first of all, long ago; suggestions stay around it and not around the latest."""
    near = suggestions(RecentTPE(seed=0), 1500, count=20)
    assert sum((s["x"] - 0.3) ** 2 + (s["y"] - 0.6) ** 2 for s in near) / len(near) < 0.02
