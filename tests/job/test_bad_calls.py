"""Calls that cannot work: exit 2, one sentence, no traceback, nothing written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdsearch import command, train, tune
from tests.conftest import ROOT
from tests.data.conftest import GRAPH, TOML, some_speeds

SPACE = """
[common]
batch_size = { choices = [50] }
learning_rate = { low = 1e-3, high = 1e-2, log = true }
[stcd]
alpha1 = { low = 0.1, high = 1.0 }
alpha2 = { low = 0.0, high = 1.0 }
alpha3 = { low = 0.1, high = 1.0 }
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a dataset, spaces, a search that is there already, and a file where a folder is wanted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KDSEARCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, replaced in {
        "space": ("", ""),
        "missing": ("alpha2 =", "# alpha2 ="),
        "adding": ("[stcd]", "[stcd]\nbeta = { low = 0.0, high = 1.0 }"),
        "unknown": ("alpha3 =", "alpha4 ="),
        "upside-down": ("low = 0.1, high = 1.0 }\nalpha2", "low = 1.0, high = 0.1 }\nalpha2"),
        "broken": ("[stcd]", "[stcd"),
        "other": ("[stcd]", "[tcd]"),
    }.items():
        assert replaced[0] in SPACE
        (tmp_path / f"{name}.toml").write_text(SPACE.replace(*replaced, 1))
    np.savetxt(tmp_path / "speeds.csv", some_speeds(4, 24, 3).reshape(-1, 3), delimiter=",", fmt="%.1f")
    (tmp_path / "graph.csv").write_text(GRAPH)
    (tmp_path / "corner.toml").write_text(TOML)
    (tmp_path / "garbled.csv").write_bytes(b"1.0,2.0,3.0\n4.0,\xff\xfe,6.0\n")
    (tmp_path / "garbled.toml").write_text(TOML.replace("speeds.csv", "garbled.csv"))
    (tmp_path / "wide.csv").write_text("\n".join("50,51,52,53" for _ in range(96)))
    (tmp_path / "wide.toml").write_text(TOML.replace("speeds.csv", "wide.csv"))
    (tmp_path / "absent.toml").write_text(TOML.replace("speeds.csv", "absent.csv"))
    (tmp_path / "short.toml").write_text(TOML.replace("train = 2", "train = 20"))
    (tmp_path / "file").write_text("")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "study.journal").write_text("")
    (tmp_path / "not-json.json").write_text("{")
    (tmp_path / "old.json").write_text(json.dumps({"schema": 0}))
    return tmp_path


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


BAD_TUNE: dict[str, tuple[str, str]] = {
    "unknown loss": ("--loss stdc", "did you mean stcd?"),
    "unknown dataset": ("--dataset pemsd9", "unknown dataset 'pemsd9'"),
    "dataset file that is not there": ("--dataset nowhere.toml", "nowhere.toml"),
    "no data file": ("--dataset absent.toml", "absent.csv"),
    "garbled data file": ("--dataset garbled.toml", "garbled.csv"),
    "data of another width": ("--dataset wide.toml", "4"),
    "too few days": ("--dataset short.toml", "days"),
    "data dir without the data": ("--dataset absent.toml --data-dir there", "no file absent.csv"),
    "unknown key": ("--set learning_rat=0.1", "did you mean learning_rate?"),
    "key of another loss": ("--set beta=0.5", "no hyperparameter beta"),
    "value that is no number": ("--set alpha1=high", "wants a number"),
    "key twice": ("--set alpha1=0.5 --set alpha1=0.6", "given twice"),
    "no key": ("--set 0.5", "key=value"),
    "too many GPUs": ("--gpus-per-trial 3", "--gpus-per-trial 3"),
    "share of GPUs above one": ("--gpus-per-trial 1.5", "--gpus-per-trial"),
    "too many CPUs": ("--cpus-per-trial 999", "--cpus-per-trial 999"),
    "no CPU": ("--cpus-per-trial 0", "--cpus-per-trial"),
    "too much at once": ("--concurrency 9999", "--concurrency 9999"),
    "output is a file": ("--output file", "is a file, not a folder"),
    "output below a file": ("--output file/deep/er", "is a file, not a folder"),
    "output on a file system of the kernel's": ("--output /proc/kdsearch", "cannot be written"),
    "a search is there": ("--output there", "--resume"),
    "no space file": ("--space nowhere.toml", "nowhere.toml"),
    "space that is no TOML": ("--space broken.toml", "not valid TOML"),
    "space without the loss": ("--space other.toml", "[stcd]"),
    "space that misses one": ("--space missing.toml", "alpha2"),
    "space that adds one": ("--space adding.toml", "beta"),
    "space with an unknown one": ("--space unknown.toml", "alpha4"),
    "space upside down": ("--space upside-down.toml", "alpha1"),
    "confirming nothing": ("--confirm 0x1", "KxS"),
    "confirming what": ("--confirm 3", "KxS"),
    "time without a unit": ("--time-budget 5", "unit"),
    "no trials": ("--trials 0", "at least 1"),
    "half an epoch": ("--epochs 0.5", "whole number"),
    "unknown scheduler": ("--scheduler ashe", "did you mean asha?"),
    "unknown sampler": ("--sampler tpee", "sampler"),
    "negative seed": ("--seed -1", "from 0 to"),
    "memory without a unit": ("--bank-memory 4", "amount of memory"),
    "shortened option": ("--trial 3", "did you mean --trials?"),
    "stray word": ("demo", "unknown argument demo"),
}
BAD_TRAIN: dict[str, tuple[str, str]] = {
    "unknown model": ("--model studnet", "did you mean student?"),
    "a teacher with a teacher": ("--model teacher --loss stcd", "trained on the task alone"),
    "unknown loss": ("--loss stdc", "did you mean stcd?"),
    "unknown key": ("--loss stcd --set beta=1", "no hyperparameter beta"),
    "no best.json": ("--params nowhere.json", "nowhere.json"),
    "a search that has not finished": ("--params there", "--resume"),
    "params that are no JSON": ("--params not-json.json", "not JSON"),
    "params of another schema": ("--params old.json", "schema"),
    "unknown dataset": ("--dataset pemsd9", "unknown dataset"),
    "no seeds": ("--seeds 0", "at least 1"),
    "no cache": ("--dataset corner.toml --cache-dir file --epochs 1", "--cache-dir"),
}


def refused(main: Callable[..., int], arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(main, arguments) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("kdsearch: error: ")
    assert says in line
    assert out == ""


@pytest.mark.parametrize("case", BAD_TUNE)
def test_tune_refuses(case, here, capsys):
    arguments, says = BAD_TUNE[case]
    before = snapshot(here)
    refused(tune.main, arguments.split(), says, capsys)
    assert snapshot(here) == before


@pytest.mark.parametrize("case", BAD_TRAIN)
def test_train_refuses(case, here, capsys):
    arguments, says = BAD_TRAIN[case]
    before = snapshot(here)
    assert command.run(train.main, arguments.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kdsearch: error: ")
    assert says in line
    assert snapshot(here) == before


@pytest.mark.parametrize("case", ["unknown loss", "too many GPUs", "output below a file", "space that misses one"])
def test_the_process_says_one_sentence_and_is_quick(case, here):
    arguments, says = BAD_TUNE[case]
    before = snapshot(here)
    began = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-m", "kdsearch.tune", *arguments.split()],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    # Two seconds on a machine at rest; a busy one gets some more.
    assert time.perf_counter() - began < 15
    assert (process.returncode, process.stdout) == (2, "")
    (line,) = process.stderr.splitlines()
    assert line.startswith("kdsearch: error: ")
    assert says in line
    assert snapshot(here) == before
