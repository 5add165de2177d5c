"""``--prune 97`` with nothing left out: a small search, killed, resumed, stored, exported, trained again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from kdsearch import command, export
from kdsearch.data import load
from kdsearch.models.stgcn import BASE, STUDENT, Channels
from kdsearch.search import space
from kdsearch.training.checkpoint import load_checkpoint
from kdsearch.training.evaluate import evaluate
from kdsearch.training.network import new_network
from tests.conftest import ROOT
from tests.job import small

LENGTHS = "--loss stcd --prune 97 --trials 2 --epochs 2 --teacher-epochs 1 --teacher-run-length 268"
FAST = "--confirm 1x1 --set pruning_minibatch=5 --set stage_percent=40"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}

REFUSED = {
    "nothing to prune": ("--prune 0", "above 0 and below 100"),
    "nothing left": ("--prune 100", "above 0 and below 100"),
    "below nothing": ("--prune -5", "above 0 and below 100"),
    "no number": ("--prune abc", "not 'abc'"),
    "no number at all": ("--prune nan", "above 0 and below 100"),
    "criterion of what": ("--criterion kdis", "--criterion kdis is of pruning: give --prune"),
    "nearest to what": ("--unreachable nearest", "--unreachable nearest is of pruning"),
    "too short": ("--prune 97 --epochs 2", "--epochs 2: the slowest pruning of the space"),
    "stage of more than all": ("--prune 97 --set stage_percent=150", "stage_percent: 150 lies outside 0.1 to 99"),
    "half a minibatch": ("--prune 97 --set pruning_minibatch=2.5", "whole number"),
    "interval without pruning": ("--set pruning_minibatch=5", "a search with --prune has it"),
    "loss with weights": ("--prune 97 --loss fitnet", "prune with another loss"),
    "unknown criterion": ("--prune 97 --criterion kdsi", "did you mean kdis?"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_is_written(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small.assert_refused(*REFUSED[case], capsys)


def start(module: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"kdsearch.{module}", *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A search killed once its trials have begun, and carried on to its end; its folder and what it said."""
    folder = tmp_path_factory.mktemp("pruned")
    kept = ["--cache-dir", str(folder / "cache"), "--store", str(folder / "store"), "--output", str(folder / "out")]
    arguments = ["--dataset", str(small.declare(folder)), *LENGTHS.split(), *FAST.split(), *kept]
    killed = start("tune", *arguments)
    journal = folder / "out" / "study.journal"
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and not (journal.exists() and "tune_id" in journal.read_text()):
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    resumed = start("tune", *arguments, "--resume")
    out, err = resumed.communicate(timeout=280)
    assert resumed.returncode == 0, err
    return folder, out


def size(folder: Path, channels: Channels) -> int:
    """Parameters of a whole network on the dataset there."""
    return new_network(load(str(folder / f"{small.NAME}.toml")), channels, 0).n_parameters()


@pytest.fixture(scope="module")
def best(searched: tuple[Path, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((searched[0] / "out" / "best.json").read_text())
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_trial_is_lost_and_none_has_an_endless_score(searched: tuple[Path, str]) -> None:
    frame = pd.read_parquet(searched[0] / "out" / "trials.parquet")
    assert sorted(frame["number"]) == [0, 1]
    assert set(frame["state"]) <= {"COMPLETE", "PRUNED"}
    assert frame["score"].between(0, 100).all()
    assert set(frame["params.pruning_minibatch"]) == {5}
    assert "Infinity" not in (searched[0] / "out" / "study.journal").read_text()
    assert "parameters of the teacher to" in searched[1]


@pytest.mark.slow
def test_best_json_says_what_was_pruned(best: dict[str, Any], searched: tuple[Path, str]) -> None:
    data = load(str(searched[0] / f"{small.NAME}.toml"))
    told = best["pruning"]
    assert best["prune"] == 97
    choices = {"start": "teacher", "criterion": "kdis", "granularity": "filter", "finetune_loss": "kd"}
    assert choices.items() <= told.items()
    assert told["kept_share"] == pytest.approx(0.03, abs=0.01)
    assert told["kept_share"] == best["n_parameters"] / best["teacher"]["n_parameters"]
    assert best["protocol"]["pruning"]["percent"] == 97
    assert {"pruning_minibatch", "stage_percent", "alpha1"} <= set(best["params"])
    network = load_checkpoint(searched[0] / "out" / "checkpoints" / "best.pt").network(data)
    assert network.n_parameters() == best["n_parameters"]
    (channels,) = told["channels"]
    assert channels["blocks"] == [list(block) for block in network.channels]
    (run,) = best["per_seed"]
    assert evaluate(network, data, "test") == pytest.approx(run["test"], rel=1e-5)


@pytest.mark.slow
def test_the_predetermined_student_stands_beside_it(best: dict[str, Any], searched: tuple[Path, str]) -> None:
    """Table 7: trained like the winner and on the same seeds, from the known point where nothing is stored."""
    rival = best["baselines"]["student_kd"]
    assert rival["n_parameters"] == size(searched[0], STUDENT)
    known = space.load(space.find("demo"), "stcd").known[0]
    assert rival["params"] == known
    assert "known point" in rival["params_from"]
    assert rival["validation"]["score"]["mean"] > 0 < rival["test"]["mae_45"]["mean"]
    assert best["search"]["seconds"]["student_kd"] > 0
    assert "predetermined student: seed 1: score" in searched[1]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_traditional_pruning_stands_beside_a_pruned_base_model(searched: tuple[Path, str], tmp_path: Path) -> None:
    """Table 8; a second run finds everything done."""
    kept = ["--cache-dir", str(searched[0] / "cache"), "--store", str(tmp_path / "store"), "--output", str(tmp_path)]
    lengths = LENGTHS.replace("--prune 97 --trials 2", "--prune 50 --trials 1").split()
    arguments = ["--dataset", str(searched[0] / f"{small.NAME}.toml"), *lengths, *FAST.split(), *kept]
    process = start("tune", *arguments)
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    best = json.loads((tmp_path / "best.json").read_text())
    rival = best["baselines"]["traditional"]
    assert (
        rival["n_parameters"] == best["n_parameters"] == round(best["pruning"]["kept_share"] * size(searched[0], BASE))
    )
    assert set(rival["params"]) == {"batch_size", "learning_rate", "pruning_minibatch", "stage_percent"}
    assert rival["params"].items() <= best["params"].items()
    assert rival["test"] != best["test"]
    assert "Traditional pruning, 50% pruned" in out
    assert "student_kd" not in best["baselines"]
    again = start("tune", *arguments, "--resume")
    out, err = again.communicate(timeout=280)
    assert again.returncode == 0, err
    assert "traditional pruning: seed" not in out
    assert json.loads((tmp_path / "best.json").read_text())["baselines"] == best["baselines"]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "has"), [("md", "97%"), ("tex", r"97\%")])
def test_table_3(searched: tuple[Path, str], kind: str, has: str, capsys: pytest.CaptureFixture[str]) -> None:
    for source in (
        ["--output", str(searched[0] / "out")],
        ["--dataset", small.NAME, "--store", str(searched[0] / "store")],
    ):
        assert command.run(export.main, [*source, "--table", "3", "--format", kind]) == 0
        shown = capsys.readouterr().out
        assert has in shown
        assert "Pruning Minibatch" in shown


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_train_reproduces_the_winner_exactly(searched: tuple[Path, str], best: dict[str, Any]) -> None:
    folder = searched[0]
    kept = ["--cache-dir", str(folder / "cache"), "--output", str(folder / "again")]
    process = start("train", "--params", str(folder / "out" / "best.json"), *kept)
    _, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    (mine,) = json.loads((folder / "again" / "result.json").read_text())["per_seed"]
    assert mine["validation"] == best["per_seed"][0]["validation"]
    first = load_checkpoint(folder / "again" / "seed-1.pt")
    second = load_checkpoint(folder / "out" / "checkpoints" / "best.pt")
    assert first.layout == second.layout
    assert all(torch.equal(value, second.weights[name]) for name, value in first.weights.items())
