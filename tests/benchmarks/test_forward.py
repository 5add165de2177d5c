"""The benchmark of a forward pass on the winner of a search: what it runs and what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.benchmarks import forward
from kdsearch import command
from kdsearch.data import Dataset
from kdsearch.models.stgcn import BASE, STUDENT, TEACHER
from kdsearch.pruning import compact
from kdsearch.training.checkpoint import Checkpoint, save_checkpoint
from kdsearch.training.network import new_network
from tests.test_picture import document


@pytest.fixture
def searched(tmp_path: Path, demo: Dataset) -> Path:
    """A folder as a search leaves it, its winner a pruned network."""
    winner = compact(new_network(demo, BASE, 0), {"block1.out": [0, 3, 9], "head.glu": [1, 2]})
    checkpoint = Checkpoint(winner.channels, winner.state_dict(), "demo", demo.fingerprint, 1, {}, 1.0, winner.layout)
    save_checkpoint(tmp_path / "checkpoints" / "best.pt", checkpoint)
    (tmp_path / "best.json").write_text(json.dumps(document(n_parameters=winner.n_parameters())))
    return tmp_path


def test_every_network_gets_its_runs(searched: Path, demo: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--output", str(searched), "--batch", "3", "--runs", "6", "--rounds", "2", "--json"]
    assert command.run(forward.main, arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["batch"], found["device"]) == (3, "cpu")
    sizes = {name: row["parameters"] for name, row in found["networks"].items()}
    assert sizes["teacher"] == new_network(demo, TEACHER, 0).n_parameters()
    assert sizes["published student"] == new_network(demo, STUDENT, 0).n_parameters()
    assert sizes["winner"] == json.loads((searched / "best.json").read_text())["n_parameters"]
    for row in found["networks"].values():
        assert row["runs"] == 6
        assert row["mean_s"] > 0 < row["median_s"]
        assert row["teacher_over_this"] == found["networks"]["teacher"]["median_s"] / row["median_s"]


def test_the_table(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(forward.main, ["--output", str(searched), "--batch", "2", "--runs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "demo, batch of 2 windows, cpu"
    assert [line.split("  ")[0] for line in lines[2:]] == ["teacher", "published student", "winner"]


def test_an_own_dataset_must_be_named(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (searched / "best.json").write_text(json.dumps(document(dataset="mine")))
    assert command.run(forward.main, ["--output", str(searched)]) == 2
    assert "say with --dataset which TOML file declares it" in capsys.readouterr().err
