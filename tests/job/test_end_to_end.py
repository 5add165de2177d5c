"""The main job with nothing left out: the demo, a real search under Ray, and what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from kdsearch.data import Dataset
from kdsearch.results import store
from kdsearch.results.gain import gain_over
from kdsearch.training.checkpoint import load_checkpoint
from kdsearch.training.evaluate import evaluate
from kdsearch.training.metrics import METRICS, score
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

FIGURES = {f"{m}_{minutes}" for m in METRICS for minutes in (15, 30, 45)}


@dataclass
class Search:
    folder: Path
    arguments: list[str]
    process: subprocess.CompletedProcess[str]

    @property
    def output(self) -> Path:
        return self.folder / "out"

    @property
    def best(self) -> dict[str, Any]:
        return json.loads((self.output / "best.json").read_text())


def call(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"kdsearch.{module}", *arguments],
        cwd=ROOT,
        # Ray's workers step back behind all else by default: on a busy machine they would starve.
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "RAY_worker_niceness": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """Two trials of two epochs; the teacher sees whole days at once, which is quick and teaches little."""
    folder = tmp_path_factory.mktemp("job")
    lengths = "--dataset demo --loss stcd --trials 2 --epochs 2 --teacher-epochs 1 --teacher-run-length 268"
    kept = ["--cache-dir", str(folder / "cache"), "--store", str(folder / "store"), "--output", str(folder / "out")]
    arguments = [*lengths.split(), "--confirm", "1x1", *kept]
    return Search(folder, arguments, call("tune", *arguments))


def test_it_ends_well(search):
    assert search.process.returncode == 0, search.process.stderr
    assert "Traceback" not in search.process.stderr
    for said in ("teacher bank: ", "trial 0 ", "trial 1 ", "confirm: ", "Student L_STCD", "best.json"):
        assert said in search.process.stdout


def test_it_leaves_a_page_of_itself(search):
    text = (search.output / "report.html").read_text(encoding="utf-8")
    assert "report.html, best.json" in search.process.stdout
    for part in ("finished", "Errors on the test days", "Timeline", "Map of the sensors", "--teacher-run-length 268"):
        assert part in text
    assert "The search did not record its workers" not in text
    assert str(search.folder) not in text
    assert "http" not in text.replace("http-equiv", "")


def test_another_search_begins_with_its_winner(search):
    arguments = [a.replace("/out", "/warm").replace("/store", "/warm-store") for a in search.arguments]
    process = call("tune", *arguments, "--warm-start", str(search.output), "--trials", "1", "--set", "alpha1=0.3")
    assert process.returncode == 0, process.stderr
    assert "warm start from out: 2 first points" in process.stdout
    trial = pd.read_parquet(search.folder / "warm" / "trials.parquet").iloc[0]
    winner = search.best["params"]
    assert trial["params.alpha1"] == 0.3
    assert {n: trial[f"params.{n}"] for n in winner if n != "alpha1"} == {
        n: v for n, v in winner.items() if n != "alpha1"
    }
    told = json.loads((search.folder / "warm" / "best.json").read_text())["search"]["warm_start"]
    assert told == {"source": "out", "points": 2, "prior": 0}
    assert "2 best points of out" in (search.folder / "warm" / "report.html").read_text(encoding="utf-8")
    beside = call("compare", str(search.output), str(search.folder / "warm"))
    assert beside.returncode == 0
    assert "2 best points of out" in beside.stdout
    assert beside.stdout.split()[:2] == ["out", "warm"]


def test_best_json_says_all(search):
    best = search.best
    assert (best["schema"], best["dataset"], best["loss"], best["prune"]) == (1, "demo", "stcd", None)
    assert set(best["params"]) == {"batch_size", "learning_rate", "alpha1", "alpha2", "alpha3"}
    assert set(best["validation"]) == FIGURES | {"score"}
    assert set(best["test"]) == FIGURES
    assert best["seeds"] == [1]
    assert best["validation"]["score"]["std"] is None
    assert set(best["baselines"]) == {"copy_last", "ridge_ar", "usual_day", "teacher", "student_none"}
    assert {"trials": 2, "epochs": 2}.items() <= best["search"].items()
    assert best["search"]["completed"] + best["search"]["stopped"] == 2
    assert "warm_start" not in best["search"]
    assert {"teacher", "bank", "trials", "confirm", "student_none"} <= set(best["search"]["seconds"])
    assert best["command"].startswith("python -m kdsearch.tune --dataset demo")


def test_whether_kd_paid_is_told(search):
    """By the student without KD of the same seed, on the terminal and on the page."""
    best = search.best
    gain = gain_over(best)
    assert gain is not None
    (alike,) = best["baselines"][gain.rival]["per_seed"]
    maes = [f"mae_{minutes}" for minutes in (15, 30, 45)]
    by_hand = sum(alike["test"][name] - best["test"][name]["mean"] for name in maes) / 3
    assert gain.mph == pytest.approx(by_hand)
    assert alike["test"]["mae_15"] == best["baselines"][gain.rival]["test"]["mae_15"]["mean"]
    assert f"the winner's {gain}" in search.process.stdout
    assert f"Its {gain}." in (search.output / "report.html").read_text(encoding="utf-8")


def test_a_weak_teacher_is_told_with_the_figures(search):
    """One epoch at whole days a batch is far too little: the warning must be there."""
    best = search.best
    own = best["baselines"]["teacher"]["validation"]["score"]["mean"]
    copied = score(best["baselines"]["copy_last"]["validation"])
    assert own > copied
    (line,) = best["warnings"]
    assert f"{own:.3f}" in line
    assert f"copy-last ({copied:.3f})" in line
    assert f"warning: {line}" in search.process.stdout


def test_the_table_of_trials(search):
    frame = pd.read_parquet(search.output / "trials.parquet")
    assert sorted(frame["number"]) == [0, 1]
    assert set(frame["state"]) <= {"COMPLETE", "PRUNED"}
    assert (frame["score"] > 0).all()
    first = frame[frame["number"] == 0].iloc[0]
    known = {"batch_size": 50, "learning_rate": 0.001, "alpha1": 0.17, "alpha2": 0.047, "alpha3": 0.313}
    assert {k: first[f"params.{k}"] for k in known} == pytest.approx(known)
    winner = search.best["confirmed"][0]
    row = frame[frame["number"] == winner["trial"]].iloc[0]
    assert {k: row[f"params.{k}"] for k in known} == pytest.approx(winner["params"])
    assert row["score"] == frame["score"].min()


def test_the_checkpoint_is_the_winner(search, demo: Dataset):
    checkpoint = load_checkpoint(search.output / "checkpoints" / "best.pt")
    (run,) = search.best["per_seed"]
    assert checkpoint.validation == run["validation"]
    model = checkpoint.network(demo)
    assert model.n_parameters() == search.best["n_parameters"]
    for part in ("validation", "test"):
        found = evaluate(model, demo, part)
        assert found == pytest.approx({k: run[part][k] for k in FIGURES}, rel=1e-5)


def test_tensorboard_and_store(search):
    assert list((search.output / "tensorboard").rglob("events.out.tfevents*"))
    (kept,) = store.read("demo", search.folder / "store")
    assert kept.score == search.best["validation"]["score"]["mean"]


def test_train_reproduces_the_winner_exactly(search):
    again = search.folder / "again"
    kept = ["--cache-dir", str(search.folder / "cache"), "--output", str(again)]
    process = call("train", "--params", str(search.output / "best.json"), *kept)
    assert process.returncode == 0, process.stderr
    found = json.loads((again / "result.json").read_text())
    (mine,), (theirs,) = found["per_seed"], search.best["per_seed"]
    assert mine["validation"] == theirs["validation"]
    assert mine["epoch"] == theirs["epoch"]
    assert "test" not in mine
    assert "teacher: from the cache" in process.stdout
    first, second = load_checkpoint(again / "seed-1.pt"), load_checkpoint(search.output / "checkpoints" / "best.pt")
    assert all(torch.equal(v, second.weights[k]) for k, v in first.weights.items())


def test_a_second_resume_adds_nothing(search):
    """Runs after the others read the folder: it writes best.json anew."""
    before, table = search.best, pd.read_parquet(search.output / "trials.parquet")
    journal = (search.output / "study.journal").read_bytes()
    refused = call("tune", *search.arguments)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    process = call("tune", *search.arguments, "--resume")
    assert process.returncode == 0, process.stderr
    assert "teacher: from the cache" in process.stdout
    pd.testing.assert_frame_equal(pd.read_parquet(search.output / "trials.parquet"), table)
    assert (search.output / "study.journal").read_bytes().count(b"\n") >= journal.count(b"\n")
    for key in ("params", "validation", "test", "confirmed", "baselines", "seeds"):
        assert search.best[key] == before[key]
    assert len(store.read("demo", search.folder / "store")) == 1
