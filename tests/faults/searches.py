"""Searches as processes, and what must hold of any of them at its end, whatever was done to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kdsearch.search.study import read_study
from tests.conftest import ROOT

__all__ = ["Readers", "begun", "check_whole", "command", "epochs", "search", "states", "to_the_end"]

HERE = Path(__file__).resolve().parent
PATIENCE = 250
CPU = {"gpus_per_trial": 0, "concurrency": 2}


def environment(**more: str) -> dict[str, str]:
    """For a driver and, through it, for Ray's workers: both find the objective by its name."""
    paths = [str(HERE), str(ROOT / "tests" / "search"), str(ROOT)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **more}


def command(output: Path, **arguments: Any) -> list[str]:
    return [sys.executable, str(HERE / "driver.py"), str(output), json.dumps({**CPU, **arguments})]


@contextmanager
def search(output: Path, env: dict[str, str] | None = None, **arguments: Any) -> Iterator[subprocess.Popen[str]]:
    """A running search; killed at the end of the ``with`` if it still runs."""
    with subprocess.Popen(
        command(output, **arguments),
        env=env or environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def to_the_end(output: Path, **arguments: Any) -> str:
    """Run a search that must end well; what it said."""
    with search(output, **arguments) as process:
        text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, text
    return text


def _lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def epochs(output: Path) -> list[tuple[float, int]]:
    """Epochs that ended, in order: the trial's x, which names it, and the epoch."""
    return [(float(x), int(epoch)) for _, x, epoch, _ in _lines(Path(f"{output}.log"))]


def begun(output: Path) -> list[tuple[float, int]]:
    """Epochs that began."""
    return [(float(x), int(epoch)) for _, x, epoch in _lines(Path(f"{output}.log.begun"))]


def states(output: Path) -> list[str]:
    return [trial.state.name for trial in read_study(output).get_trials()]


def check_whole(output: Path, trials: int, may_fail: bool = False) -> None:
    """The wanted number of trials, none twice, none running, and the table says the same."""
    study = read_study(output)
    found = study.get_trials()
    assert len(found) == trials
    assert {t.state.name for t in found} <= {"COMPLETE", "PRUNED"} | ({"FAIL"} if may_fail else set())
    assert len({t.params["x"] for t in found}) == trials
    table = pd.read_parquet(output / "trials.parquet")
    assert list(table["state"]) == [t.state.name for t in found]
    assert not (output / ".trials").exists()
    assert not (output / ".tune").exists()


class Readers:
    """Reads the table of trials (and ``best.json``) again and again, as a user would while a search runs."""

    def __init__(self, output: Path) -> None:
        self._output, self._stop = output, threading.Event()
        self._thread = threading.Thread(target=self._read)
        self.read, self.wrong = 0, list[str]()

    def __enter__(self) -> Readers:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._stop.wait(0.05):
            try:
                if (self._output / "trials.parquet").exists():
                    # By its path, pandas opens a file twice, and may find two tables.
                    with (self._output / "trials.parquet").open("rb") as file:
                        pd.read_parquet(file)
                    self.read += 1
                if (self._output / "best.json").exists():
                    json.loads((self._output / "best.json").read_text())
                    self.read += 1
            except Exception as error:
                self.wrong.append(repr(error))

    def check(self) -> None:
        assert not self.wrong, self.wrong[:3]
        assert self.read > 0


def skip_without_proc() -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("processes are looked at through /proc")
