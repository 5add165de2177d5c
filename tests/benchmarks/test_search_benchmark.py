"""The search benchmark: the bookkeeping of curves, and the whole in tiny form."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmarks.search import curves, random_search
from experiments.benchmarks.search.__main__ import main
from experiments.benchmarks.search.methods import METHODS, Method, installed, read_log, run
from experiments.benchmarks.search.task import Task, TimeUp, epochs, load_objective, save_objective
from kdsearch.errors import UserError
from kdsearch.search.space import Parameter, Space

SPACE = Space(
    "stcd",
    (
        Parameter("batch_size", choices=(16, 25)),
        Parameter("learning_rate", 1e-3, 1e-1, log=True),
        Parameter("alpha1", 0.0, 1.0),
        Parameter("steps", 1.0, 4.0, integer=True),
    ),
    fixed={"alpha2": 0.5},
)


def entry(seconds: float, trial: str, epoch: int, score: float = math.nan) -> dict[str, Any]:
    return {"seconds": seconds, "trial": trial, "epoch": epoch} | (
        {"score": score, "wall": 2.0, "cpu": 1.5} if epoch else {"params": {}}
    )


def made(method: str, seed: int, *points: tuple[float, float]) -> curves.Run:
    return curves.Run(method, seed, points, 1, len(points), 0.5)


def task(folder: Path, **changes: Any) -> Task:
    values: dict[str, Any] = {
        "prepared": str(folder),
        "output": str(folder),
        "log": str(folder / "log.jsonl"),
        "seed": 0,
        "epochs": 3,
        "grace": 1,
        "reduction": 3,
        "budget_s": 60.0,
        "started": 0.0,
    }
    return Task(**(values | changes))


def test_a_run_keeps_what_improved_within_the_budget() -> None:
    entries = [
        entry(1.0, "a", 0),
        entry(1.5, "b", 0),
        entry(2.0, "a", 1, 5.0),
        entry(4.0, "b", 1, 6.0),
        entry(3.0, "a", 2, math.nan),
        entry(6.0, "b", 2, 4.5),
        entry(9.9, "c", 0),
        entry(10.1, "c", 1, 1.0),  # too late
    ]
    found = curves.read_run("ours", 3, entries, 10.0)
    assert found.points == ((2.0, 5.0), (6.0, 4.5))
    assert (found.trials, found.epochs, found.first_s, found.best) == (3, 4, 1.0, 4.5)
    assert found.cpu == 0.75


def test_a_run_without_a_score_is_infinite() -> None:
    found = curves.read_run("ours", 0, [], 10.0)
    assert math.isinf(found.best)
    assert math.isinf(found.first_s)
    assert math.isinf(curves.at(found, 10.0))


def test_the_curve_is_a_step() -> None:
    found = made("ours", 0, (2.0, 5.0), (6.0, 4.5))
    assert [curves.at(found, t) for t in (1.9, 2.0, 5.9, 6.0, 99.0)] == [math.inf, 5.0, 5.0, 4.5, 4.5]
    assert [curves.time_to(found, s) for s in (5.5, 5.0, 4.6, 4.5)] == [2.0, 2.0, 6.0, 6.0]
    assert math.isinf(curves.time_to(found, 4.4))


def test_the_summary_compares_within_a_seed() -> None:
    runs = [
        made("ours", 0, (1.0, 2.0)),
        made("random", 0, (1.0, 2.5), (3.0, 2.01)),
        made("ours", 1, (4.0, 1.0)),
        made("random", 1, (1.0, 1.5)),
    ]
    assert curves.best_known(runs) == {0: 2.0, 1: 1.0}
    found = curves.summary(runs, 10.0)
    assert found["ours"]["within_s"] == 2.5
    assert found["ours"]["reached"] == 2
    assert found["ours"]["above_best_known_percent"] == 0.0
    assert found["random"]["reached"] == 1
    assert math.isinf(found["random"]["within_s"])
    text = curves.table(found, {"ours": "kdsearch"}, 10.0)
    assert [line.split(" | ")[0] for line in text.splitlines()[2:]] == ["| kdsearch", "| random"]
    assert "> 10 s" in text


def test_the_band_spans_the_seeds() -> None:
    low, middle, high = curves.band([made("ours", s, (1.0, 4.0 + s)) for s in range(3)], [0.0, 1.0])
    assert (low, middle, high) == ([math.inf, 4.0], [math.inf, 5.0], [math.inf, 6.0])


def test_the_curves_are_written(tmp_path: Path) -> None:
    curves.write_csv([made("ours", 7, (1.0, 2.0), (3.0, 1.5))], tmp_path / "curves.csv")
    lines = (tmp_path / "curves.csv").read_text().splitlines()
    assert lines == ["method,seed,seconds,best", "ours,7,1.000,2.000000", "ours,7,3.000,1.500000"]


def test_random_configurations_lie_in_the_space() -> None:
    generator = np.random.default_rng(0)
    drawn = [random_search.draw(SPACE, generator) for _ in range(200)]
    for params in drawn:
        assert all(p.holds(params[p.name]) for p in SPACE.parameters)
        assert params["alpha2"] == 0.5
    assert {params["steps"] for params in drawn} == {1, 2, 3, 4}
    assert {params["batch_size"] for params in drawn} == {16, 25}


def test_arrays_come_back_as_maps_of_files(tmp_path: Path) -> None:
    save_objective({"bank": np.arange(5, dtype=np.int16)}, SPACE, tmp_path)  # type: ignore[arg-type]
    objective, space = load_objective(tmp_path)
    assert objective["bank"].tolist() == [0, 1, 2, 3, 4]
    assert not objective["bank"].flags.writeable
    assert space == SPACE


def test_no_epoch_begins_after_the_budget(tmp_path: Path) -> None:
    with pytest.raises(TimeUp):
        next(epochs(None, task(tmp_path)))


def test_a_line_cut_off_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"epoch": 1}\n{"epo')
    assert read_log(tmp_path / "log") == [{"epoch": 1}]


def test_a_missing_rival_is_seen() -> None:
    import sys

    assert installed(METHODS["ours"], sys.executable)
    assert not installed(Method("x", "x", "x", "no_such_package_at_all"), sys.executable)


def test_a_search_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.benchmarks.search.methods._CLOSING_S", 0.2)
    sleeper = tmp_path / "kdbench_sleeper.py"
    sleeper.write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run(Method("x", "x", "kdbench_sleeper"), task(tmp_path, budget_s=0.1), tmp_path) < 0


def test_an_unknown_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean"):
        main(["--methods", "our", "--output", str(tmp_path)])


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        main(["--report", "--output", str(tmp_path)])


@pytest.mark.long
def test_ours_and_random_in_tiny_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--output", str(tmp_path), "--dataset", "demo", "--teacher-epochs", "1", "--epochs", "2", "--grace", "1"]
    common += ["--methods", "ours,random", "--seeds", "0", "--budget", "30s"]
    assert main([*common, "--csv", str(tmp_path / "curves.csv"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document["methods"]) <= {"ours", "random"}
    assert document["methods"]
    assert (tmp_path / "curves.csv").read_text().startswith("method,seed,seconds,best\n")
    pytest.importorskip("matplotlib")
    assert main([*common, "--report", "--picture", str(tmp_path / "curves.png")]) == 0
    assert "best score after 30 s" in capsys.readouterr().out
    assert (tmp_path / "curves.png").stat().st_size > 0
    with pytest.raises(UserError, match="budget"):
        main([*common[:-1], "31s"])
