"""``--objective pareto`` with nothing left out: a small search, its front, its store, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kdsearch import command, export, tune
from kdsearch.data import load
from kdsearch.models.stgcn import BASE
from kdsearch.results import store
from kdsearch.search import space
from kdsearch.training.checkpoint import load_checkpoint
from kdsearch.training.evaluate import evaluate
from tests.conftest import ROOT
from tests.job import small
from tests.job.test_pruned_search import ENVIRONMENT, size

LENGTHS = "--objective pareto --start base --trials 4 --epochs 2 --teacher-epochs 1 --teacher-run-length 268"
FAST = "--confirm 2x2 --set pruning_minibatch=3 --set stage_percent=40 --set batch_size=100"

REFUSED = {
    "percent given": ("--objective pareto --prune 97", "the percent is searched: leave --prune out"),
    "cost of what": ("--cost latency", "--cost latency is of a front: give --objective pareto"),
    "start of what": ("--start base", "--start base is of pruning"),
    "scores alone": ("--objective pareto --scheduler hyperband", "takes asha or none"),
    "percent without a front": ("--prune 97 --set pruned_percent=90", "a search with --objective pareto has it"),
    "percent of more than all": ("--objective pareto --set pruned_percent=120", "120 lies outside 0.1 to 99.9"),
    "time of masks": ("--objective pareto --cost latency --granularity weight", "takes as long as before"),
    "unknown cost": ("--objective pareto --cost latencies", "did you mean latency?"),
    "loss with weights": ("--objective pareto --loss fitnet", "prune with another loss"),
    "too short": ("--objective pareto --epochs 2", "--epochs 2: the slowest pruning of the space"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_is_written(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small.assert_refused(*REFUSED[case], capsys)


def test_known_points_of_the_network_come_first() -> None:
    """Table 3's 97% is of the teacher, 75 and 50% of the base model; 25% lies outside the range of the demo."""
    percents = {
        start: [point["pruned_percent"] for point in space.load(space.find("demo"), "stcd", start=start).known]
        for start in ("teacher", "base")
    }
    assert percents == {"teacher": [97.0], "base": [75.0, 50.0]}
    (only,) = space.load(space.find("demo"), "ord", start="base").known  # has no sections of pruning
    assert only["pruned_percent"] == 50.0


def test_a_space_without_a_range_of_percents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = space.find("demo").read_text().replace("pruned_percent", "# pruned_percent")
    (tmp_path / "own.toml").write_text(text)
    assert command.run(tune.main, ["--objective", "pareto", "--space", str(tmp_path / "own.toml")]) == 2
    assert "misses pruned_percent, which --objective pareto searches" in capsys.readouterr().err


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("front")
    kept = ["--cache-dir", str(folder / "cache"), "--store", str(folder / "store"), "--output", str(folder / "out")]
    arguments = ["--dataset", str(small.declare(folder)), *LENGTHS.split(), *FAST.split(), *kept]
    command = [sys.executable, "-m", "kdsearch.tune", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_front_and_its_networks(searched: tuple[Path, str]) -> None:
    folder, out = searched
    data, whole = load(str(folder / f"{small.NAME}.toml")), size(folder, BASE)
    document: dict[str, Any] = json.loads((folder / "out" / "front.json").read_text())
    points = document["points"]
    assert 1 <= len(points) <= 2
    assert [p["n_parameters"] for p in points] == sorted(p["n_parameters"] for p in points)
    assert any(p["on_front"] for p in points)
    for point in points:
        network = load_checkpoint(folder / "out" / point["checkpoint"]).network(data)
        assert network.n_parameters() == point["n_parameters"] == point["cost"]["parameters"]
        kept = point["n_parameters"] / whole
        assert kept == pytest.approx(point["pruning"]["kept_share"])
        assert kept == pytest.approx(1 - point["prune"] / 100, abs=0.03)
        assert point["cost"]["forward_ms"] > 0
        best = min(point["per_seed"], key=lambda run: run["validation"]["score"])
        assert evaluate(network, data, "test") == pytest.approx(best["test"], rel=1e-5)
        assert point["protocol"]["pruning"]["start"] == "base"
        assert "pruned_percent" not in point["params"]
    best_point = min(points, key=lambda p: p["validation"]["score"]["mean"])
    assert json.loads((folder / "out" / "best.json").read_text())["validation"] == best_point["validation"]
    assert "Front of validation score and size" in out


@pytest.mark.slow
def test_the_table_of_trials_has_the_cost(searched: tuple[Path, str]) -> None:
    frame = pd.read_parquet(searched[0] / "out" / "trials.parquet")
    assert sorted(frame["number"]) == [0, 1, 2, 3]
    shares = frame["cost"] / size(searched[0], BASE)
    assert ((1 - shares) * 100 - frame["params.pruned_percent"]).abs().max() < 3


@pytest.mark.slow
def test_store_and_export(searched: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    kept = store.read_fronts(small.NAME, searched[0] / "store")
    assert store.read(small.NAME, searched[0] / "store") == []
    arguments = ["--dataset", small.NAME, "--store", str(searched[0] / "store"), "--table", "front", "--format", "csv"]
    assert command.run(export.main, arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(kept)
    assert lines[0].startswith("dataset,parameters,pruned,forward_ms,score,score_std,mae_15")
