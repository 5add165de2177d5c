"""The comparison of the fast and the plain loss, run on short trainings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.long
@pytest.mark.timeout(300)
def test_every_way_trains_the_same_student(tmp_path: Path) -> None:
    lengths = ["--epochs", "1", "--teacher-epochs", "1", "--seeds", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.benchmarks.accuracy", *lengths, "--cache-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    scores = {run["way"]: run["score"] for run in json.loads(done.stdout)}
    assert set(scores) == {"fast", "plain", "sampled"}
    # One epoch from the same start: the ways round and sample differently, and no more than that.
    assert scores["fast"] == pytest.approx(scores["plain"], rel=1e-2)
    assert scores["sampled"] == pytest.approx(scores["plain"], rel=5e-2)
