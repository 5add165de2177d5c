from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from kdsearch.contents import JOURNAL
from kdsearch.errors import UserError
from kdsearch.search.choices import SAMPLERS, check_sampler
from kdsearch.search.record import ranked, trials_frame
from kdsearch.search.report import Report
from kdsearch.search.searcher import StudySearcher
from kdsearch.search.space import Parameter, Space
from kdsearch.search.study import close_decided, enqueue, open_study, outcome, read_study

SPACE = Space("none", (Parameter("x", 0.0, 1.0), Parameter("n", choices=(1, 2, 4))), fixed={"rate": 0.5})
SETUP = {"dataset": "demo", "epochs": 3}


def searcher(study: optuna.Study, ends: list[Any] | None = None, sampler: str = "tpe", **more: Any) -> StudySearcher:
    def on_end(*event: Any) -> None:
        if ends is not None:
            ends.append(event)

    arguments: dict[str, Any] = {"seed": 0, "epochs": 3, "wanted": 99, "cut_off": (), "on_end": on_end, **more}
    return StudySearcher(study, SPACE, sampler, **arguments)


def result(epoch: int, score: float, best: float | None = None, error: str | None = None) -> dict[str, Any]:
    lowest = score if best is None else best
    report = Report(epoch, score, best_score=lowest, best_epoch=epoch, best_validation={"mae_15": lowest}, error=error)
    return {"epoch": epoch, "score": lowest, "report": report}


def test_how_a_trial_ends_is_what_the_study_says(tmp_path: Path) -> None:
    study = open_study(tmp_path, SETUP, resume=False)
    ends: list[Any] = []
    alg = searcher(study, ends)
    for tune_id in "abcdef":
        assert alg.suggest(tune_id)["params"]["rate"] == 0.5

    alg.on_trial_result("a", result(1, 5.0))
    alg.on_trial_result("a", result(2, 7.0, best=5.0))
    alg.on_trial_complete("a", result(3, 6.0, best=5.0))  # at its end; its value is its best, not its last
    alg.on_trial_result("b", result(1, 9.0))
    alg.on_trial_complete("b", result(2, 8.0))  # stopped by the scheduler
    alg.on_trial_complete("c", result(1, math.nan, best=math.inf))
    alg.on_trial_result("d", result(1, 2.0))
    alg.on_trial_complete("d", result(2, math.nan, best=2.0))  # diverged after a good epoch
    alg.on_trial_complete("e", result(0, math.nan, best=math.inf, error="ValueError: no"))
    alg.on_trial_result("f", result(1, 4.0))
    alg.on_trial_complete("f", None, error=True)  # its worker died for good

    trials = study.get_trials()
    assert [t.state.name for t in trials] == ["COMPLETE", "PRUNED", "FAIL", "FAIL", "FAIL", "FAIL"]
    assert trials[0].value == 5.0
    assert trials[0].intermediate_values == {1: 5.0, 2: 5.0, 3: 5.0}
    assert trials[1].value == 8.0
    assert trials[1].intermediate_values == {1: 9.0, 2: 8.0}
    assert [e[4] for e in ends] == [
        None,
        None,
        "diverged in epoch 1",
        "diverged in epoch 2",
        "ValueError: no",
        "its worker died",
    ]
    assert outcome(trials[0])["validation"] == {"mae_15": 5.0}
    assert trials[0].user_attrs["tune_id"] == "a"
    assert trials[0].user_attrs["seed"] == 0

    # Events of trials that have ended change nothing.
    alg.on_trial_result("a", result(4, 0.1))
    alg.on_trial_complete("a", result(4, 0.1))
    alg.on_trial_complete("zzz", result(4, 0.1))
    assert [t.value for t in study.get_trials()][:2] == [5.0, 8.0]

    assert [r.number for r in ranked(study, SPACE.fixed)] == [0, 1]
    frame = trials_frame(study, SPACE.fixed)
    assert list(frame["state"]) == [t.state.name for t in trials]
    assert list(frame["params.rate"]) == [0.5] * 6
    assert frame["val_mae_15"][0] == 5.0
    assert frame["error"][4] == "ValueError: no"


def test_while_stopping_a_dead_worker_is_no_failure(tmp_path: Path) -> None:
    study = open_study(tmp_path, SETUP, resume=False)
    alg = searcher(study)
    alg.suggest("a")
    alg.stopping = True
    alg.on_trial_complete("a", None, error=True)
    assert study.get_trials()[0].state is TrialState.RUNNING
    assert alg.suggest("b") == "FINISHED"


def test_an_outcome_written_before_a_crash_is_told_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = open_study(tmp_path, SETUP, resume=False)
    alg = searcher(study)
    alg.suggest("a")
    alg.on_trial_result("a", result(1, 9.0))

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(optuna.Study, "tell", die)
    with pytest.raises(KeyboardInterrupt):
        alg.on_trial_complete("a", result(3, 4.0))
    monkeypatch.undo()
    again = open_study(tmp_path, SETUP, resume=True)
    assert again.get_trials()[0].state is TrialState.RUNNING
    close_decided(again)
    assert again.get_trials()[0].state is TrialState.COMPLETE
    assert again.get_trials()[0].value == 4.0


def test_a_trial_cut_off_goes_on_under_its_number(tmp_path: Path) -> None:
    study = open_study(tmp_path, SETUP, resume=False)
    first = searcher(study)
    config = first.suggest("a")
    first.on_trial_result("a", result(1, 9.0))
    again = open_study(tmp_path, SETUP, resume=True)
    alg = searcher(again, cut_off=again.get_trials(), wanted=2)
    assert alg.suggest("x") == config
    alg.on_trial_result("x", result(1, 9.0))  # the epoch after its last state, a second time
    alg.on_trial_complete("x", result(3, 1.0))
    assert alg.suggest("y")["number"] == 1
    assert alg.suggest("z") == "FINISHED"
    assert again.get_trials()[0].intermediate_values == {1: 9.0, 3: 1.0}


def test_known_points_come_first_and_once(tmp_path: Path) -> None:
    points = [{"x": 0.25, "n": 2}, {"x": 0.75, "n": 4}]
    study = open_study(tmp_path, SETUP, resume=False)
    enqueue(study, points)
    alg = searcher(study)
    assert alg.suggest("a")["params"] == {"x": 0.25, "n": 2, "rate": 0.5}
    again = open_study(tmp_path, SETUP, resume=True)
    enqueue(again, points)
    assert len(again.get_trials()) == 2
    assert searcher(again).suggest("b")["params"]["x"] == 0.75


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_suggestions_do_not_depend_on_interruptions(tmp_path: Path, sampler: str) -> None:
    def run(folder: Path, interrupted: bool) -> list[Any]:
        folder.mkdir()
        study = open_study(folder, SETUP, resume=False)
        alg, found = searcher(study, sampler=sampler), []
        for number in range(14):
            if interrupted and number % 3 == 2:
                study = open_study(folder, SETUP, resume=True)
                alg = searcher(study, sampler=sampler)
            config = alg.suggest(str(number))
            found.append(config["params"])
            alg.on_trial_complete(str(number), result(3, config["params"]["x"]))
        return found

    whole = run(tmp_path / "whole", interrupted=False)
    assert run(tmp_path / "cut", interrupted=True) == whole
    assert len({p["x"] for p in whole}) == 14


def test_a_third_is_random_where_bad_trials_are_stopped(tmp_path: Path) -> None:
    """Once x near 0 has done well TPE stays there; a random third looks elsewhere, and depends on numbers alone."""

    def xs(folder: str, **more: Any) -> list[float]:
        (tmp_path / folder).mkdir()
        study = open_study(tmp_path / folder, SETUP, resume=False)
        for number in range(60):
            alg = searcher(study, **more)  # as after a resume
            config = alg.suggest(str(number))
            alg.on_trial_complete(str(number), result(3, config["params"]["x"]))
        return [t.params["x"] for t in study.get_trials()]

    model, both = xs("model"), xs("both", stops_early=True)
    late = range(24, 60)
    assert sum(model[k] > 0.5 for k in late) <= 4
    drawn = [both[k] for k in late if k % 3 == 2]
    assert 3 <= sum(x > 0.5 for x in drawn) <= 9
    assert sum(both[k] > 0.5 for k in late if k % 3 != 2) <= 4
    assert both == xs("again", stops_early=True)


def test_gp_suggests(tmp_path: Path) -> None:
    study = open_study(tmp_path, SETUP, resume=False)
    alg = searcher(study, sampler="gp")
    for number in range(12):
        config = alg.suggest(str(number))
        alg.on_trial_complete(str(number), result(3, (config["params"]["x"] - 0.5) ** 2))
    assert min(t.value for t in study.get_trials()) < 0.01


def test_samplers_are_checked_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="'tpf' is not one of tpe, random, gp, cmaes, qmc; did you mean tpe"):
        check_sampler("tpf")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="--sampler cmaes needs the package cmaes: pip install cmaes"):
        check_sampler("cmaes")
    check_sampler("tpe")
    assert set(SAMPLERS) == {"tpe", "random", "gp", "cmaes", "qmc"}


def test_a_torn_journal_is_mended(tmp_path: Path) -> None:
    study = open_study(tmp_path, SETUP, resume=False)
    searcher(study).suggest("a")
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    for torn in (b'{"op_code":4,"wor', b"\x00\x00\x00\n", b'{"op_code":4\n'):
        path.write_bytes(whole + torn)
        (tmp_path / f"{JOURNAL}.lock").symlink_to(path)  # its writer held the lock
        again = open_study(tmp_path, SETUP, resume=True)
        assert path.read_bytes() == whole
        again.get_trials()
    again.set_user_attr("still", "writable")
    assert read_study(tmp_path).user_attrs["still"] == "writable"


def test_studies_that_are_refused(tmp_path: Path) -> None:
    open_study(tmp_path, SETUP, resume=False)
    with pytest.raises(UserError, match="already holds a search: carry on with --resume, or give another --output"):
        open_study(tmp_path, SETUP, resume=False)
    with pytest.raises(UserError, match="was searched with epochs = 3, not 4: resume with the same settings"):
        open_study(tmp_path, {**SETUP, "epochs": 4}, resume=True)
    with pytest.raises(UserError, match="was searched with dataset = 'demo', not None"):
        open_study(tmp_path, {"epochs": 3}, resume=True)
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match=r"holds no search: there is no study\.journal"):
        read_study(tmp_path / "other")
    (tmp_path / "other" / JOURNAL).write_bytes(b"rubbish\n{}\n{}\n")
    with pytest.raises(UserError, match="is damaged and cannot be read"):
        open_study(tmp_path / "other", SETUP, resume=True)


def test_equal_configurations_are_ranked_once(tmp_path: Path) -> None:
    study = open_study(tmp_path, SETUP, resume=False)
    for _ in range(2):
        study.enqueue_trial({"x": 0.5, "n": 1})
    alg = searcher(study)
    for number, score in enumerate((3.0, 2.0, 9.0)):
        alg.suggest(str(number))
        alg.on_trial_complete(str(number), result(3, score))
    assert [(r.number, r.score) for r in ranked(study)] == [(1, 2.0), (2, 9.0)]


def test_an_empty_study_is_an_empty_table(tmp_path: Path) -> None:
    frame = trials_frame(open_study(tmp_path, SETUP, resume=False))
    assert len(frame) == 0
    assert {"number", "state", "score", "epochs", "seconds", "seed", "started"} <= set(frame.columns)
