"""What a search takes of another: points that fit its space, and a prior that fades."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from kdsearch.errors import UserError
from kdsearch.job import warm as job
from kdsearch.job.settings import JobSettings
from kdsearch.search.prior import WithPrior, fading, standing_scores
from kdsearch.search.searcher import StudySearcher
from kdsearch.search.settings import SearchSettings
from kdsearch.search.space import Parameter, Space
from kdsearch.search.study import enqueue, open_study
from kdsearch.search.warm import PRIOR_TRIALS, WarmStart, fit, read_warm_start
from tests.results.searches import make_search, write_document

SPACE = Space(
    "stcd",
    (
        Parameter("batch_size", choices=(25, 50, 100)),
        Parameter("learning_rate", 1e-3, 1e-2, log=True),
        Parameter("alpha1", 0.2, 0.6),
    ),
)


@pytest.mark.parametrize(
    ("given_value", "taken"),
    [
        (
            {"batch_size": 25, "learning_rate": 2e-3, "alpha1": 0.3},
            {"batch_size": 25, "learning_rate": 2e-3, "alpha1": 0.3},
        ),
        (
            {"batch_size": 16, "learning_rate": 1e-5, "alpha1": 0.9},
            {"batch_size": 25, "learning_rate": 1e-3, "alpha1": 0.6},
        ),
        ({"batch_size": 75, "other": 3}, {"batch_size": 50}),  # the smaller of two equally near
        ({"batch_size": True, "alpha1": math.nan, "learning_rate": "fast"}, {}),
    ],
)
def test_points_are_brought_into_the_space(given_value, taken):
    assert fit(SPACE, given_value)[0] == taken


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.integers(-1000, 1000))
def test_what_is_taken_always_lies_in_the_space(rate, alpha, batch):
    space = Space("x", (*SPACE.parameters, Parameter("stage", 5, 25, log=True, integer=True)))
    point, notes = fit(space, {"learning_rate": rate, "alpha1": alpha, "batch_size": batch, "stage": alpha})
    assert point.keys() == set(space.names)
    assert all(p.holds(point[p.name]) for p in space.parameters)
    changed = [
        p for p in space.parameters if point[p.name] != {"learning_rate": rate, "batch_size": batch}.get(p.name, alpha)
    ]
    assert len(notes) == len(changed)


def test_text_that_is_no_choice_is_left_out():
    space = Space("x", (Parameter("kind", choices=("a", "b")), Parameter("y", 0.0, 1.0)))
    assert fit(space, {"kind": "a", "y": 0.5}) == ({"kind": "a", "y": 0.5}, [])
    assert fit(space, {"kind": "c", "y": 0.5}) == ({"y": 0.5}, ["kind c is left out, it is none of a, b"])


def test_the_best_points_come_first_and_the_confirmed_winner_before_all(tmp_path):
    study = make_search(tmp_path)
    scored = sorted(
        (t for t in study.trials if t.state is not TrialState.FAIL), key=lambda t: min(t.intermediate_values.values())
    )
    warm, notes = read_warm_start(tmp_path, SPACE, 3, prior=False)
    assert warm.source == tmp_path.name
    assert list(warm.points) == [fit(SPACE, t.params)[0] for t in scored[:3]]
    assert all(note.startswith("trial ") for note in notes)
    winner = scored[4].number
    write_document(tmp_path, {"confirmed": [{"trial": winner}]})
    again, _ = read_warm_start(tmp_path, SPACE, 3, prior=False)
    assert list(again.points) == [fit(SPACE, t.params)[0] for t in (scored[4], scored[0], scored[1])]


def test_a_prior_keeps_the_order_of_the_other_search(tmp_path):
    study = make_search(tmp_path, trials=60)
    warm, _ = read_warm_start(tmp_path, SPACE, 2, prior=True)
    assert len(warm.prior) == PRIOR_TRIALS
    standings = [s for _, s in warm.prior]
    assert standings == sorted(standings)
    assert (standings[0], standings[-1]) == (0.0, 1.0)
    best = min(
        (t for t in study.trials if t.state is not TrialState.FAIL), key=lambda t: min(t.intermediate_values.values())
    )
    assert warm.prior[0][0] == fit(SPACE, best.params)[0]
    assert WarmStart.read(warm.plain()) == warm


def test_a_search_that_has_nothing_to_give_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no search"):
        read_warm_start(tmp_path, SPACE, 3, prior=False)
    make_search(tmp_path / "empty", trials=0)
    with pytest.raises(UserError, match="has a score yet"):
        read_warm_start(tmp_path / "empty", SPACE, 3, prior=False)
    make_search(tmp_path / "full", trials=6)
    with pytest.raises(UserError, match="this search has none"):
        read_warm_start(tmp_path / "full", Space("x", (Parameter("beta", 0.0, 1.0),)), 3, prior=False)
    more = Space("x", (*SPACE.parameters, Parameter("beta", 0.0, 1.0)))
    warm, _ = read_warm_start(tmp_path / "full", more, 3, prior=False)
    assert all("beta" not in point for point in warm.points)
    with pytest.raises(UserError, match="beta is missing"):
        read_warm_start(tmp_path / "full", more, 3, prior=True)


def test_the_points_are_the_first_trials_and_the_sampler_fills_what_they_lack(tmp_path):
    study = open_study(tmp_path, {}, resume=False)
    points = [{"batch_size": 100, "alpha1": 0.25}, {"learning_rate": 5e-3}]
    enqueue(study, points)
    alg = StudySearcher(study, SPACE, "tpe", 0, 3, 9, (), lambda *_: None)
    for point in points:
        params = alg.suggest(str(point))["params"]
        assert params.items() >= point.items()
        assert params.keys() == set(SPACE.names)


def test_what_points_lack_is_drawn_anew_for_each(tmp_path):
    study = open_study(tmp_path, {}, resume=False)
    enqueue(study, [{"batch_size": 100}] * 4)
    alg = StudySearcher(study, SPACE, "tpe", 0, 4, 9, (), lambda *_: None)
    drawn = [alg.suggest(str(k))["params"]["alpha1"] for k in range(4)]
    assert len(set(drawn)) == 4


def settings(tmp_path: Path, **changes: object) -> JobSettings:
    return JobSettings(**{"output": tmp_path / "new", "warm_start": tmp_path / "old", **changes})  # type: ignore[arg-type]


def test_a_resumed_search_keeps_what_it_began_with(tmp_path):
    make_search(tmp_path / "old")
    warm, notes = job.choose(settings(tmp_path), SPACE, tmp_path / "new")
    assert warm is not None
    assert notes
    setup = SearchSettings(tmp_path / "new", 3, 3, warm=warm).setup(SPACE)
    (tmp_path / "new").mkdir()
    open_study(tmp_path / "new", setup, resume=False)
    (tmp_path / "old" / "study.journal").unlink()
    for given_folder in (tmp_path / "old", None):
        kept, _ = job.choose(settings(tmp_path, resume=True, warm_start=given_folder), SPACE, tmp_path / "new")
        assert kept == warm
        open_study(tmp_path / "new", SearchSettings(tmp_path / "new", 3, 3, warm=kept).setup(SPACE), resume=True)
    make_search(tmp_path / "cold")
    with pytest.raises(UserError, match="began without --warm-start"):
        job.choose(settings(tmp_path, resume=True, output=tmp_path / "cold"), SPACE, tmp_path / "cold")
    with pytest.raises(UserError, match="own --output"):
        job.choose(settings(tmp_path, warm_start=tmp_path / "cold"), SPACE, tmp_path / "cold")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"warm_start": None}, "--warm-start DIR"),
        ({"sampler": "gp"}, "--sampler tpe, not gp"),
        ({"objective": "pareto"}, "one objective only"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        job.check(settings(tmp_path, warm_prior=True, **changes))
    with pytest.raises(UserError, match="--warm-points: say with --warm-start"):
        job.check(settings(tmp_path, warm_start=None, warm_points=3))
    job.check(settings(tmp_path))


def test_a_prior_fades_and_stands_among_the_scores_here():
    prior = [({}, s) for s in (0.0, 0.2, 0.5, 0.9, 1.0)]
    assert [s for _, s in fading(prior, 0)] == [0.0, 1.0, 0.9, 0.2, 0.5]
    assert [s for _, s in fading(prior, 3)] == [0.0, 1.0]
    assert fading(prior, 9) == []
    assert standing_scores([0.0, 0.5, 1.0], [5.0, 3.0, 4.0, math.inf]) == [3.0, 4.0, 5.0]
    assert standing_scores([0.0, 1.0], []) == [0.0, 1.0]
    assert standing_scores([0.0, 1.0], [7.0]) == [6.5, 7.5]


def test_a_prior_draws_suggestions_to_where_the_other_search_was_good(tmp_path):
    """Without a single trial of its own, and again beside a few."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, 32)
    order = np.argsort(np.argsort(abs(x - 0.8))) / 31
    prior = [({"x": float(v)}, float(s)) for v, s in zip(x, order, strict=True)]

    def mean_of(study: optuna.Study, known: list[tuple[dict[str, float], float]]) -> float:
        found = []
        for seed in range(40):
            sampler = optuna.samplers.TPESampler(seed=seed)
            study.sampler = WithPrior(sampler, known) if known else sampler
            trial = study.ask()
            found.append(trial.suggest_float("x", 0, 1))
            study.tell(trial, state=TrialState.FAIL)
        return float(np.mean(np.abs(np.array(found) - 0.8)))

    empty = optuna.create_study()
    assert mean_of(empty, prior) < 0.6 * mean_of(empty, [])
    few = optuna.create_study()
    for value in (0.1, 0.4, 0.95):
        trial = few.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        few.tell(trial, abs(value - 0.8) + rng.uniform(0, 0.01))
    assert mean_of(few, prior) < 0.6 * mean_of(few, [])
