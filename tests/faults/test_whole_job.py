"""``kdsearch.tune`` from the first line to the last, killed at random moments, and two of them at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from kdsearch.contents import JOURNAL
from kdsearch.results import store
from kdsearch.search.study import read_study
from kdsearch.training.checkpoint import load_checkpoint
from tests.conftest import ROOT
from tests.faults.bad_calls import sound
from tests.faults.processes import alive, descendants, wait
from tests.faults.searches import Readers

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

LENGTHS = "--dataset corner.toml --space space.toml --teacher-epochs 6 --epochs 5 --trials 4 --confirm 2x2"
KEPT = "--cache-dir cache --store store"


def job(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    for name, content in sound().items():
        (folder / name).write_text(str(content))
    return subprocess.Popen(
        [sys.executable, "-m", "kdsearch.tune", *LENGTHS.split(), *KEPT.split(), *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=900)
    assert process.returncode == 0, text
    return text


def check_result(output: Path) -> float:
    best = json.loads((output / "best.json").read_text())
    assert load_checkpoint(output / "checkpoints" / "best.pt").dataset == "corner"
    assert len(read_study(output).get_trials()) == 4
    assert len(pd.read_parquet(output / "trials.parquet")) == 4
    return float(best["validation"]["score"]["mean"])


def test_killed_anywhere_between_the_first_line_and_the_last(tmp_path: Path) -> None:
    """While teachers are trained, Ray starts, trials run, winners are confirmed: the same command carries on."""
    rng = random.Random(3)
    whole = job(tmp_path, "--output", "undisturbed")
    began = time.monotonic()
    finished(whole)
    length = time.monotonic() - began
    for name in ("cache", "store"):
        subprocess.run(["rm", "-r", str(tmp_path / name)], check=True)
    output, kills = tmp_path / "out", 0
    with Readers(output) as readers:
        for _ in range(40):
            process = job(tmp_path, "--output", "out", "--resume")
            try:
                process.wait(timeout=rng.uniform(0.3, 0.7) * length)
                break
            except subprocess.TimeoutExpired:
                family = descendants(process.pid)
                os.kill(process.pid, signal.SIGKILL)
                process.communicate()
                kills += 1
                wait(lambda family=family: not alive(family))
        else:
            process = job(tmp_path, "--output", "out", "--resume")
        finished(process)
    readers.check()
    assert kills >= 2
    assert check_result(output) > 0
    states = {trial.state.name for trial in read_study(output).get_trials()}
    assert states <= {"COMPLETE", "PRUNED"}
    print(f"{kills} kills of a job of {length:.0f} s")


def test_two_at_once_share_one_teacher_and_one_store(tmp_path: Path) -> None:
    """Each trains to the same end; the teacher is trained by one of them, and the store keeps the better result."""
    first = job(tmp_path, "--output", "one", "--seed", "0")
    second = job(tmp_path, "--output", "two", "--seed", "0", "--sampler", "random")
    texts = [finished(first), finished(second)]
    scores = [check_result(tmp_path / name) for name in ("one", "two")]
    assert sum("teacher: trained in" in text for text in texts) == 1
    assert sum("teacher: from the cache" in text for text in texts) == 1
    (kept,) = store.read("corner", tmp_path / "store")
    assert kept.score == min(scores)
    assert (tmp_path / "one" / JOURNAL).exists()
