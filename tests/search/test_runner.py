from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from objectives import Bowl

from kdsearch.errors import UserError
from kdsearch.search.report import Listener, Report
from kdsearch.search.runner import run_search
from kdsearch.search.settings import SearchSettings, check_settings, output_lock
from kdsearch.search.space import Parameter, Space
from kdsearch.search.study import open_study, outcome, read_study

pytestmark = pytest.mark.usefixtures("ray_here")

SPACE = Space("none", (Parameter("x", 0.0, 1.0), Parameter("rate", 0.05, 1.0, log=True)))
CPU: dict[str, Any] = {"gpus_per_trial": 0, "concurrency": 2, "checkpoint_every_s": 0.0}


class Recorder(Listener):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.starts: list[tuple[int, int]] = []
        self.epochs: list[tuple[int, int]] = []
        self.ends: dict[int, tuple[str, float | None, str | None]] = {}
        self.messages: list[str] = []
        self.at_once = self.most_at_once = 0
        self.results: list[Any] = []

    def on_trial_start(self, number: int, params: Mapping[str, Any], epoch: int) -> None:
        self.starts.append((number, epoch))
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)

    def on_epoch(self, number: int, params: Mapping[str, Any], report: Report) -> None:
        self.epochs.append((number, report.epoch))
        assert set(report.validation) == {"mae_15", "rmse_15"} or math.isnan(report.score)
        assert report.losses
        assert report.learning_rate == params["rate"]

    def on_trial_end(
        self, number: int, state: str, params: Any, best_score: Any, best_validation: Any, report: Any = None
    ) -> None:
        self.at_once -= 1
        self.ends[number] = (state, best_score, report.error)

    def on_message(self, text: str) -> None:
        self.messages.append(text)

    def on_search_end(self, result: Any) -> None:
        self.results.append(result)


class Broken(Listener):
    def on_trial_start(self, number: int, params: Mapping[str, Any], epoch: int) -> None:
        raise OSError("no more room for plots")


def test_a_search_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = Space("none", SPACE.parameters, known=({"x": 0.9, "rate": 0.9}, {"x": 0.99, "rate": 0.9}))
    heard = Recorder()
    bowl = Bowl(fail_where=0.98, kill_once=str(tmp_path / "killed"))
    settings = SearchSettings(tmp_path / "run", 8, 9, grace=1, **CPU)
    result = run_search(bowl, space, settings, (Broken(), heard))

    assert (result.finished, result.unfinished, result.reason) == (8, 0, None)
    assert result.completed >= 1
    assert result.stopped >= 1
    assert heard.ends[1] == ("FAIL", None, "RuntimeError: the bowl broke")
    assert "Broken failed and is switched off (no more room for plots)" in capsys.readouterr().err
    # A worker that dies costs nothing but the epoch under way.
    assert (tmp_path / "killed").exists()
    assert len(heard.messages) == 1
    assert "its worker died; it goes on in another" in heard.messages[0]
    again = [(n, e) for n, e in heard.starts if e > 0]
    assert again == [(int(heard.messages[0].split()[1].rstrip(":")), 2)]
    assert len(heard.epochs) == len(set(heard.epochs))  # each epoch is told once
    assert heard.results == [result]

    trials = read_study(tmp_path / "run").get_trials()
    assert trials[0].params == {"x": 0.9, "rate": 0.9}
    assert "RuntimeError: the bowl broke" in outcome(trials[1])["traceback"]
    for trial in trials:
        ended = outcome(trial)
        assert ended["state"] == trial.state.name
        if trial.state.name == "COMPLETE":
            assert ended["epochs"] == 9 == max(trial.intermediate_values)
            assert trial.value == min(trial.intermediate_values.values()) == ended["best_score"]
    table = pd.read_parquet(tmp_path / "run" / "trials.parquet")
    assert list(table["number"]) == list(range(8))
    assert table["score"].min() == result.ranked[0].score
    assert result.ranked[0].validation["mae_15"] == result.ranked[0].score
    left = sorted(p.name for p in (tmp_path / "run").iterdir())
    assert left == [".lock", "study.journal", "trials.parquet"]


def test_a_trial_that_diverges_fails_and_the_search_goes_on(tmp_path: Path) -> None:
    heard = Recorder()
    settings = SearchSettings(tmp_path, 3, 3, scheduler="none", **CPU)
    result = run_search(Bowl(), SPACE.fix({"rate": 1e6}), settings, (heard,))
    assert result.failed == 3
    assert result.ranked == []
    assert heard.ends[0] == ("FAIL", None, "diverged in epoch 1")


def test_trials_are_the_total_and_resuming_runs_what_is_missing(tmp_path: Path) -> None:
    def settings(trials: int, **more: Any) -> SearchSettings:
        return SearchSettings(tmp_path, trials, 3, **CPU, **more)

    heard = Recorder()
    run_search(Bowl(), SPACE, settings(2))
    with pytest.raises(UserError, match="already holds a search: carry on with --resume"):
        run_search(Bowl(), SPACE, settings(3))
    for change, message in (
        ({"seed": 1}, "searched with seed = 0, not 1"),
        ({"scheduler": "none"}, "searched with scheduler = 'asha', not 'none'"),
        ({"identity": {"dataset": "pemsd7"}}, "searched with dataset = None, not 'pemsd7'"),
    ):
        with pytest.raises(UserError, match=message):
            run_search(Bowl(), SPACE, settings(3, resume=True, **change))
    with pytest.raises(UserError, match=r"searched with fixed = \{\}, not \{'rate': 0.5\}"):
        run_search(Bowl(), SPACE.fix({"rate": 0.5}), settings(3, resume=True))
    result = run_search(Bowl(), SPACE, settings(3, resume=True), (heard,))
    assert result.finished == 3
    assert [n for n, _ in heard.starts] == [2]
    began = time.monotonic()
    assert run_search(Bowl(), SPACE, settings(3, resume=True)).finished == 3  # nothing to do
    assert time.monotonic() - began < 2


def test_time_is_up_and_a_resumed_search_continues_the_trials(tmp_path: Path) -> None:
    bowl = Bowl(pause=0.3)
    settings: dict[str, Any] = {"output": tmp_path, "trials": 2, "epochs": 14, "scheduler": "none", **CPU}

    class Start(Recorder):
        """Starts the clock with the first epoch: starting workers takes longer on some machines than on others."""

        def on_epoch(self, number: int, params: Mapping[str, Any], report: Report) -> None:
            super().on_epoch(number, params, report)
            if len(self.epochs) == 4:
                stop._deadline = 0.0

    from kdsearch.search import runner

    stop = runner.StopRequest(3600)
    first = Start()
    original = runner.StopRequest
    runner.StopRequest = lambda budget: stop  # type: ignore[assignment, misc]
    try:
        result = run_search(bowl, SPACE, SearchSettings(**settings, time_budget_s=3600), (first,))
    finally:
        runner.StopRequest = original  # type: ignore[misc]
    assert (result.finished, result.reason) == (0, "time budget")
    assert result.unfinished >= 1
    assert result.ranked[0].state == "RUNNING"
    second = Recorder()
    result = run_search(bowl, SPACE, SearchSettings(**settings, resume=True), (second,))
    assert (result.completed, result.unfinished, result.reason) == (2, 0, None)
    assert max(epoch for _, epoch in second.starts) >= 1
    told = sorted(first.epochs + second.epochs)
    assert told == [(n, e) for n in (0, 1) for e in range(1, 15)]


def test_a_budget_shorter_than_the_start_keeps_everything(tmp_path: Path) -> None:
    result = run_search(Bowl(pause=0.2), SPACE, SearchSettings(tmp_path, 4, 50, time_budget_s=0.05, **CPU))
    assert (result.reason, result.finished) == ("time budget", 0)


def test_shares_of_a_gpu_limit_how_many_run(tmp_path: Path) -> None:
    heard = Recorder()
    settings = SearchSettings(tmp_path, 5, 4, gpus_per_trial=0.5, scheduler="none", sampler="random")
    result = run_search(Bowl(pause=0.15), SPACE, settings, (heard,))
    assert result.completed == 5
    assert heard.most_at_once == 2  # four CPUs, half a GPU each


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"cpus_per_trial": 64}, "--cpus-per-trial 64: no machine here has more than 4 CPUs"),
        ({"gpus_per_trial": 2}, "--gpus-per-trial 2: no machine here has more than 1"),
        ({"concurrency": 9}, "--concurrency 9: only"),
        ({"trials": 0}, "trials: wants at least 1"),
        ({"epochs": 0}, "epochs: wants at least 1"),
        ({"reduction": 1}, "reduction: wants at least 2"),
        ({"scheduler": "asah"}, "--scheduler: 'asah' is not one of"),
        ({"sampler": "tpee"}, "--sampler: 'tpee' is not one of"),
        ({"time_budget_s": 0.0}, "--time-budget: wants more than 0"),
    ],
)
def test_impossible_settings_are_refused_before_anything_is_written(tmp_path: Path, asked: Any, message: str) -> None:
    settings = SearchSettings(**{"output": tmp_path / "run", "trials": 2, "epochs": 2, **asked})
    began = time.monotonic()
    with pytest.raises(UserError) as error:
        run_search(Bowl(), SPACE, settings)
    assert message in str(error.value)
    assert time.monotonic() - began < 2
    assert not (tmp_path / "run" / "study.journal").exists()


def test_a_second_search_in_a_folder_is_refused(tmp_path: Path) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with output_lock(tmp_path):
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    try:
        with pytest.raises(UserError, match="another search is running in"):
            run_search(Bowl(), SPACE, SearchSettings(tmp_path, 2, 2))
    finally:
        done.set()
        thread.join()


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written: (Not a directory|File exists)"):
        run_search(Bowl(), SPACE, SearchSettings(tmp_path / "file" / "run", 2, 2))


def test_a_trial_that_always_kills_the_search_is_given_up(tmp_path: Path) -> None:
    settings = SearchSettings(tmp_path, 1, 2, **CPU, resume=True)
    study = open_study(tmp_path, settings.setup(SPACE), resume=False)
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.set_user_attr("resumed_at", [0, 0, 0, 0])
    result = run_search(Bowl(), SPACE, settings)
    assert result.failed == 1
    assert "died 5 times in epoch 1" in outcome(read_study(tmp_path).get_trials()[0])["error"]


def test_arrays_reach_the_trials_shared_and_read_only(tmp_path: Path) -> None:
    class Reader(Bowl):
        def trainer(self, params: Any, device: str, seed: int) -> Any:
            if self.data.flags.writeable or not np.isfinite(self.data).all():
                raise ValueError("a copy")
            return super().trainer(params, device, seed)

    result = run_search(Reader(np.zeros(1_000_000)), SPACE, SearchSettings(tmp_path, 1, 1, **CPU))
    assert result.completed == 1


def test_settings_are_checked_without_ray() -> None:
    check_settings(SearchSettings(Path("x"), 1, 1))
