"""``kdsearch.train`` cut off: what was trained is there, and the same command trains nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from kdsearch import command, train
from kdsearch.training.checkpoint import load_checkpoint
from tests.conftest import ROOT
from tests.job import small


def arguments(folder: Path, output: str, *more: str) -> list[str]:
    """Three students told by L_STCD, a second each, of a teacher trained on whole days."""
    return [
        *("--dataset", str(folder / f"{small.NAME}.toml"), "--loss", "stcd", "--seeds", "3", "--epochs", "2"),
        *("--teacher-epochs", "1", "--cache-dir", str(folder / "cache"), "--output", str(folder / output), *more),
    ]


def start(given: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kdsearch.train", *given],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_batch_systems_end_keeps_what_was_trained(tmp_path: Path) -> None:
    small.declare(tmp_path)
    given = arguments(tmp_path, "out")
    process = start(given)
    deadline = time.monotonic() + 200
    while not (tmp_path / "out" / "seed-0.pt").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "interrupted; what is trained is kept, the same command carries on\n"
    first = load_checkpoint(tmp_path / "out" / "seed-0.pt")
    assert not (tmp_path / "out" / "result.json").exists()

    process = start(given)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "seed 0: epoch" not in out
    assert "seed 2: epoch" in out
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [run["seed"] for run in told["per_seed"]] == [0, 1, 2]
    assert told["params"].keys() >= {"batch_size", "learning_rate", "alpha3"}
    assert told["protocol"]["student"]["epochs"] == 2
    assert told["protocol"]["teacher"]["epochs"] == 1
    assert told["protocol"]["seeds"] == [0, 1, 2]
    assert "--seeds 3" in told["command"]
    assert sorted(p.name for p in (tmp_path / "out").glob("*seed*")) == ["seed-0.pt", "seed-1.pt", "seed-2.pt"]
    assert not list((tmp_path / "out").glob(".training*"))

    # What another loss left there is not taken for its own.
    (tmp_path / "out" / "seed-0.pt").unlink()
    process = start(given)
    while not (tmp_path / "out" / "seed-0.pt").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert list((tmp_path / "out").glob(".training-0*"))
    process = start([*given, "--loss", "scd", "--set", "alpha1=0.5", "--set", "alpha3=0.5"])
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "seed 0: epoch 1 of 2" in out

    # Uninterrupted it gives the same.
    process = start(arguments(tmp_path, "again"))
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    again = json.loads((tmp_path / "again" / "result.json").read_text())
    assert [run["validation"] for run in again["per_seed"]] == [run["validation"] for run in told["per_seed"]]
    kept = load_checkpoint(tmp_path / "again" / "seed-0.pt")
    assert all(torch.equal(value, first.weights[name]) for name, value in kept.weights.items())


def test_an_output_that_cannot_be_is_refused_before_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small.declare(tmp_path)
    (tmp_path / "file").write_text("in the way")
    assert command.run(train.main, arguments(tmp_path, "file/out")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / 'file'} is a file, not a folder" in line
    assert not (tmp_path / "cache").exists()


def test_two_in_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from kdsearch.search.settings import output_lock

    small.declare(tmp_path)
    ready = "import sys; from pathlib import Path; from kdsearch.search.settings import output_lock\n"
    ready += "with output_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", ready, str(tmp_path / "out")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert command.run(train.main, arguments(tmp_path, "out")) == 2
    assert "give another --output" in capsys.readouterr().err
    holder.communicate("")
    with output_lock(tmp_path / "out"):
        assert not (tmp_path / "cache").exists()
