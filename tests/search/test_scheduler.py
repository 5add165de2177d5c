from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.errors import UserError
from kdsearch.search.scheduler import Asha, Median, make_scheduler

SCORES = st.floats(0, 10, allow_nan=False)


def trial(number: int, generation: int = 0) -> Any:
    """What Tune hands over; its id changes with every resume, the number does not."""
    return SimpleNamespace(trial_id=f"{generation}-{number}", config={"number": number})


def controller() -> Any:
    return SimpleNamespace(get_live_trials=list)


def tell(scheduler: Any, number: int, epoch: int, score: float, generation: int = 0) -> str:
    result = {"epoch": epoch, "score": score}
    decision = scheduler.on_trial_result(controller(), trial(number, generation), result)
    if decision == "STOP":
        scheduler.on_trial_complete(controller(), trial(number, generation), result)
    return str(decision)


def play(scheduler: Any, scores: list[list[float]], generation: int = 0) -> dict[int, dict[int, float]]:
    """Run trials side by side, epoch by epoch; returns what the study would hold of them."""
    histories: dict[int, dict[int, float]] = {n: {} for n in range(len(scores))}
    alive = set(histories)
    for epoch in range(1, 1 + max(map(len, scores))):
        for number in sorted(alive):
            best = min(scores[number][:epoch])
            histories[number][epoch] = best
            if tell(scheduler, number, epoch, best, generation) == "STOP":
                alive.discard(number)
    return histories


@pytest.mark.parametrize("name", ["asha", "hyperband"])
@given(st.lists(st.lists(SCORES, min_size=9, max_size=9), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_rungs_rebuilt_from_the_study_are_those_of_the_run(name: str, scores: list[list[float]]) -> None:
    live = make_scheduler(name, epochs=9, grace=1, reduction=3, seed=4)
    histories = play(live, scores)
    rebuilt = make_scheduler(name, epochs=9, grace=1, reduction=3, seed=4, histories=histories.items())
    assert isinstance(live, Asha)
    assert isinstance(rebuilt, Asha)
    assert rebuilt.rungs == live.rungs
    # And so are the decisions on every later trial, under Tune ids of another run.
    for number, score in enumerate((0.0, 1.0, 3.0, 5.0, 9.0), start=100):
        for epoch in (1, 3):
            assert tell(rebuilt, number, epoch, score, 1) == tell(live, number, epoch, score)


def test_median_rebuilt_decides_alike() -> None:
    scores = [[float(n)] * 6 for n in (1, 2, 3, 4)]
    live = make_scheduler("median", epochs=6, grace=2, reduction=3, seed=0)
    histories = play(live, scores)
    rebuilt = make_scheduler("median", epochs=6, grace=2, reduction=3, seed=0, histories=histories.items())
    assert isinstance(live, Median)
    for score in (0.5, 2.0, 9.0):
        assert tell(live, 50, 3, score) == tell(rebuilt, 50, 3, score, 1)
    assert tell(rebuilt, 51, 3, 9.0) == "STOP"
    assert tell(rebuilt, 52, 3, 0.1) == "CONTINUE"
    assert tell(rebuilt, 53, 1, 9.0) == "CONTINUE"  # within the grace period


def test_asha_keeps_one_in_three() -> None:
    scheduler = make_scheduler("asha", epochs=9, grace=1, reduction=3, seed=0)
    decisions = [tell(scheduler, n, 1, score) for n, score in enumerate((1.0, 2.0, 3.0, 0.5, 1.5, 0.1))]
    assert decisions == ["CONTINUE", "STOP", "STOP", "CONTINUE", "STOP", "CONTINUE"]
    assert tell(scheduler, 0, 9, 1.0) == "STOP"  # at its end


@pytest.mark.parametrize("name", ["asha", "hyperband", "median"])
def test_what_has_failed_is_stopped_and_not_entered(name: str) -> None:
    bad = math.nan
    scheduler = make_scheduler(name, epochs=9, grace=3, reduction=3, seed=0)
    assert tell(scheduler, 0, 1, bad) == "STOP"
    assert tell(scheduler, 1, 3, 1.0) == "CONTINUE"
    if isinstance(scheduler, Asha):
        assert all("0" not in recorded for rungs in scheduler.rungs for recorded in rungs.values())


def test_names() -> None:
    with pytest.raises(UserError, match="'ahsa' is not one of asha, hyperband, median, none; did you mean asha"):
        make_scheduler("ahsa", 9, 1, 3, 0)
    assert make_scheduler("asha", epochs=2, grace=5, reduction=3, seed=0)  # a grace beyond the end is cut to it


@pytest.mark.parametrize("name", ["asha", "hyperband", "median"])
def test_a_trial_without_a_score_yet_goes_on_and_no_rung_hears_of_it(name: str) -> None:
    """Infinite: its network is still being pruned. NaN: it has failed."""
    scheduler = make_scheduler(name, epochs=9, grace=1, reduction=3, seed=4)
    for number in range(5):
        tell(scheduler, number, 1, 1.0)
    assert tell(scheduler, 5, 1, math.inf) == "CONTINUE"
    assert tell(scheduler, 5, 2, 0.5) == "CONTINUE"
    assert tell(scheduler, 6, 1, math.nan) == "STOP"
    if isinstance(scheduler, Asha):
        assert "6" not in {key for bracket in scheduler.rungs for rung in bracket.values() for key in rung}
        values = [value for bracket in scheduler.rungs for rung in bracket.values() for value in rung.values()]
        assert all(map(math.isfinite, values))
        assert tell(scheduler, 7, 9, math.inf) == "STOP"
