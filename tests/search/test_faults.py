"""Searches killed and interrupted, as processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kdsearch.search.study import read_study

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PATIENCE = 90


@contextmanager
def search(output: Path, **arguments: Any) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)])}
    command = [sys.executable, str(HERE / "driver.py"), str(output), json.dumps(arguments)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def epochs(output: Path) -> list[tuple[str, str, int, str]]:
    """The epochs that were run: worker, hyperparameter, epoch, score."""
    log = Path(f"{output}.log")
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [(pid, x, int(epoch), score) for pid, x, epoch, score in lines]


def descendants(pid: int) -> set[int]:
    """A process and all below it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(entry.name))
    found, todo = set(), [pid]
    while todo:
        one = todo.pop()
        found.add(one)
        todo += parents.get(one, [])
    return found


def alive(pids: set[int]) -> set[int]:
    def runs(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False

    return {pid for pid in pids if runs(pid)}


def states(output: Path) -> list[str]:
    return [trial.state.name for trial in read_study(output).get_trials()]


def check_whole(output: Path, trials: int) -> None:
    """The wanted number of trials, none twice, none running; the table says the same."""
    study = read_study(output)
    assert len(study.get_trials()) == trials
    assert {t.state.name for t in study.get_trials()} <= {"COMPLETE", "PRUNED"}
    assert len({t.params["x"] for t in study.get_trials()}) == trials
    table = pd.read_parquet(output / "trials.parquet")
    assert list(table["state"]) == states(output)
    assert not (output / ".trials").exists()
    assert not (output / ".tune").exists()


@pytest.mark.faults  # tests/faults/test_campaign.py kills twice as well, and by default
def test_killed_twice_and_resumed(tmp_path: Path) -> None:
    output = tmp_path / "run"
    arguments = {"trials": 6, "pause": 0.2, "scheduler": "asha"}
    for kill, enough in enumerate((4, 9)):
        with search(output, resume=kill > 0, **arguments) as process:
            wait(lambda enough=enough: len(epochs(output)) >= enough)
            family = descendants(process.pid)
            assert len(family) > 3
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            wait(lambda family=family: not alive(family))  # nothing is left behind
        assert "RUNNING" in states(output)
        pd.read_parquet(output / "trials.parquet")
    with search(output, resume=True, **arguments) as process:
        text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, text
    assert "goes on after epoch" in text
    check_whole(output, 6)
    # A trial goes on where it was: the same epoch is never run more often than the search was started, and what is
    # run again gives the same score.
    run = epochs(output)
    scores: dict[tuple[str, int], set[str]] = {}
    for _, x, epoch, score in run:
        scores.setdefault((x, epoch), set()).add(score)
    assert all(len(found) == 1 for found in scores.values())
    assert max(Counter((x, epoch) for _, x, epoch, _ in run).values()) <= 3
    # Two trials at each of two kills lose the epoch under way, and on a busy machine, where checkpoints are dear and
    # so written less often, a few more.
    assert len(run) - len(scores) <= 2 * 2 + 0.3 * len(scores)


def test_interrupted_once_it_ends_cleanly(tmp_path: Path) -> None:
    output = tmp_path / "run"
    with search(output, trials=50, pause=3.0, scheduler="none") as process:
        wait(lambda: len(epochs(output)) >= 2)
        family = descendants(process.pid)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=PATIENCE)
        took = time.monotonic() - began
    assert process.returncode == 130, text
    assert took < 10
    assert "everything is kept" in text
    assert "search over (interrupted; --resume carries on): 0 of 50 trials ended" in text
    assert "Traceback" not in text
    assert json.loads(text.splitlines()[-1])["unfinished"] == states(output).count("RUNNING") >= 1
    wait(lambda: not alive(family))


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    output = tmp_path / "run"
    with search(output, trials=50, pause=3.0, concurrency=1) as process:
        wait(lambda: len(epochs(output)) >= 1)
        family = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        assert time.monotonic() - began < 2
    wait(lambda: not alive(family))
    states(output)  # the journal can be read
