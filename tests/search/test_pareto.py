"""A search of two objectives: what its scheduler stops, what its study holds, how it is carried on."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from objectives import Bowl

from kdsearch.errors import UserError
from kdsearch.search.pareto import ParetoAsha, make_pareto
from kdsearch.search.runner import run_search
from kdsearch.search.settings import SearchSettings, check_settings
from kdsearch.search.space import Parameter, Space
from kdsearch.search.study import outcome, progress, read_study

SPACE = Space("none", (Parameter("x", 0.0, 1.0), Parameter("rate", 0.3, 1.0, log=True)))
CPU: dict[str, Any] = {"gpus_per_trial": 0, "concurrency": 2, "checkpoint_every_s": 0.0, "objectives": 2}


def tell(scheduler: ParetoAsha, number: int, epoch: int, score: float, cost: float | None) -> str:
    trial = SimpleNamespace(config={"number": number})
    return str(scheduler.on_trial_result(None, trial, {"epoch": epoch, "score": score, "cost": cost}))


def test_a_rung_worked_by_hand() -> None:
    """Reduction 2: a trial goes on if fewer than half of those seen lie on better fronts."""
    scheduler = ParetoAsha(epochs=8, grace=2, reduction=2)
    assert list(scheduler.rungs) == [4, 2]
    assert tell(scheduler, 0, 1, 9.0, 1.0) == "CONTINUE"  # before the first rung
    assert scheduler.rungs[2] == {}
    assert tell(scheduler, 0, 2, 3.0, 10.0) == "CONTINUE"  # alone
    assert tell(scheduler, 1, 2, 5.0, 5.0) == "CONTINUE"  # worse and cheaper: on the front
    assert tell(scheduler, 2, 2, 6.0, 5.0) == "STOP"  # trial 1 beats it, and two of three lie on the front before it
    assert scheduler.rungs[2] == {0: (3.0, 10.0), 1: (5.0, 5.0), 2: (6.0, 5.0)}


def test_what_too_many_beat_is_stopped() -> None:
    scheduler = ParetoAsha(epochs=8, grace=2, reduction=3)
    assert tell(scheduler, 0, 2, 3.0, 10.0) == "CONTINUE"
    assert tell(scheduler, 1, 2, 3.5, 20.0) == "STOP"  # dearer and worse: one of two beats it
    assert tell(scheduler, 2, 2, 2.0, 30.0) == "CONTINUE"  # dearer and better
    assert tell(scheduler, 3, 2, 9.0, 1.0) == "CONTINUE"  # the cheapest, however bad
    assert tell(scheduler, 3, 2, 8.0, 1.0) == "CONTINUE"  # a rung is entered once
    assert scheduler.rungs[2][3] == (9.0, 1.0)


def test_ends_and_unknowns() -> None:
    scheduler = ParetoAsha(epochs=4, grace=1, reduction=3)
    assert tell(scheduler, 0, 1, math.nan, 1.0) == "STOP"
    assert tell(scheduler, 1, 1, math.inf, None) == "CONTINUE"  # still being pruned
    assert tell(scheduler, 2, 2, 3.0, None) == "CONTINUE"
    assert all(not seen for seen in scheduler.rungs.values())
    assert tell(scheduler, 2, 4, 3.0, 5.0) == "STOP"  # a full trial


@given(st.lists(st.tuples(st.lists(st.floats(0, 9), min_size=9, max_size=9), st.integers(1, 5)), max_size=8))
@hypothesis_settings(max_examples=50, deadline=None)
def test_rungs_rebuilt_from_the_study(trials: list[tuple[list[float], int]]) -> None:
    live = ParetoAsha(epochs=9, grace=1, reduction=3)
    told: dict[int, dict[int, float]] = {n: {} for n in range(len(trials))}
    for number, (scores, cost) in enumerate(trials):
        for epoch in range(1, 10):
            told[number][epoch] = min(scores[:epoch])
            if tell(live, number, epoch, told[number][epoch], float(cost)) == "STOP":
                break
    again = ParetoAsha(9, 1, 3, [(n, values, float(trials[n][1])) for n, values in told.items()])
    assert again.rungs == live.rungs


@pytest.mark.parametrize(("scheduler", "kind"), [("asha", "ParetoAsha"), ("none", "FIFOScheduler")])
def test_schedulers(scheduler: str, kind: str) -> None:
    assert type(make_pareto(scheduler, 9, 1, 3)).__name__ == kind


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"scheduler": "median"}, "compares scores alone"),
        ({"scheduler": "hyperband"}, "takes asha or none"),
        ({"scheduler": "ahsa"}, "did you mean asha"),
    ],
)
def test_what_knows_one_objective_is_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        check_settings(SearchSettings(tmp_path, 3, 3, **{**CPU, **change}))


@pytest.mark.usefixtures("ray_here")
def test_a_search_interrupted_and_carried_on(tmp_path: Path) -> None:
    """A bowl whose score falls with x up to 0.3 and whose cost is x: the front lies between 0 and 0.3."""
    settings = SearchSettings(tmp_path, 10, 9, grace=3, **CPU)
    first = run_search(Bowl(costs=True, pause=0.02), SPACE, SearchSettings(tmp_path, 6, 9, grace=3, **CPU))
    assert first.finished == 6
    result = run_search(Bowl(costs=True), SPACE, SearchSettings(**{**vars(settings), "resume": True}))
    assert (result.finished, result.failed) == (10, 0)
    trials = read_study(tmp_path).get_trials()
    assert len(trials) == 10
    for trial in trials:
        ended = outcome(trial)
        assert ended["cost"] == trial.params["x"] == trial.user_attrs["cost"]
        assert max(progress(trial)) == ended["epochs"]
        assert min(progress(trial).values()) == ended["best_score"]
        if trial.state.name == "COMPLETE":
            assert trial.values == [ended["best_score"], ended["cost"]]
        else:
            assert trial.values is None
    assert all(r.cost == r.params["x"] for r in result.ranked)
    table = pd.read_parquet(tmp_path / "trials.parquet")
    assert sorted(table["cost"]) == sorted(r.cost for r in result.ranked)
    best = read_study(tmp_path).best_trials
    assert all(t.params["x"] <= 0.45 for t in best)


@pytest.mark.usefixtures("ray_here")
def test_a_folder_of_one_objective_is_not_carried_on_with_two(tmp_path: Path) -> None:
    one = {**CPU, "objectives": 1}
    run_search(Bowl(), SPACE, SearchSettings(tmp_path, 1, 2, **one))
    with pytest.raises(UserError, match="objectives"):
        run_search(Bowl(costs=True), SPACE, SearchSettings(tmp_path, 2, 2, resume=True, **CPU))


@pytest.mark.usefixtures("ray_here")
def test_a_trial_without_a_cost_has_failed(tmp_path: Path) -> None:
    result = run_search(Bowl(costs=False), SPACE, SearchSettings(tmp_path, 1, 2, **CPU))
    assert result.failed == 1
    assert outcome(read_study(tmp_path).get_trials()[0])["error"] == "its cost could not be measured"
