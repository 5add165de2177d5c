"""Ctrl-C, SIGTERM and the death of Ray's own servers, on a search and on the whole job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.bad_calls import sound
from tests.faults.processes import alive, command_of, descendants, kill, wait
from tests.faults.searches import check_whole, epochs, search, states, to_the_end

LONG = pytest.mark.faults
SLOW = {"trials": 50, "pause": 3.0, "scheduler": "none"}


def ended(process: subprocess.Popen[str], seconds: float = 120) -> tuple[str, float]:
    began = time.monotonic()
    text, _ = process.communicate(timeout=seconds)
    return text, time.monotonic() - began


@LONG
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_a_search_with_a_summary(tmp_path: Path, number: signal.Signals) -> None:
    output = tmp_path / "run"
    with search(output, **SLOW) as process:
        wait(lambda: len(epochs(output)) >= 1)
        family = descendants(process.pid)
        process.send_signal(number)
        text, took = ended(process)
    assert process.returncode == 130, text
    assert took < 10
    assert "search over (interrupted; --resume carries on): 0 of 50 trials ended" in text
    assert "Traceback" not in text
    assert "RUNNING" in states(output)
    wait(lambda: not alive(family))


@LONG
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_two_signals_end_it_at_once(tmp_path: Path, second: signal.Signals) -> None:
    output = tmp_path / "run"
    with search(output, **SLOW) as process:
        wait(lambda: len(epochs(output)) >= 1)
        family = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        process.send_signal(second)
        _, took = ended(process)
    assert took < 5
    wait(lambda: not alive(family))
    states(output)  # the journal can be read


@pytest.mark.parametrize("server", ["gcs_server", pytest.param("raylet", marks=LONG)])
def test_a_death_of_rays_servers_is_told_and_can_be_carried_on(tmp_path: Path, server: str) -> None:
    output = tmp_path / "run"
    arguments = {"trials": 4, "pause": 0.4, "scheduler": "none", "epochs": 4}
    with search(output, **arguments) as process:
        wait(lambda: len(epochs(output)) >= 3)
        family = descendants(process.pid)
        (victim,) = [pid for pid in family if Path(command_of(pid).split(" ")[0]).name == server]
        kill(victim)
        text, took = ended(process)
        assert process.returncode == 2, text
        assert took < 20
    told = [line for line in text.splitlines() if line.startswith("kdsearch: error: ")]
    assert len(told) == 1
    assert f"Ray's {server} has died" in told[0]
    assert "everything is kept, carry on with the same command and --resume" in told[0]
    wait(lambda: not alive(family))
    to_the_end(output, resume=True, **arguments)
    check_whole(output, 4)


@LONG
def test_a_machine_so_busy_that_ray_takes_long_to_start(tmp_path: Path) -> None:
    """Ray itself gives up on a server that is not there after 30 seconds."""

    def raylet() -> int | None:
        names = {pid: Path(command_of(pid).split(" ")[0]).name for pid in descendants(process.pid)}
        return next((pid for pid, name in names.items() if name == "raylet"), None)

    with search(tmp_path / "run", trials=2, epochs=2) as process:
        wait(lambda: raylet() is not None or process.poll() is not None)
        server = raylet()
        assert server is not None, process.communicate()[0]
        os.kill(server, signal.SIGSTOP)
        time.sleep(40)
        os.kill(server, signal.SIGCONT)
        text, _ = ended(process, 200)
    assert process.returncode == 0, text
    check_whole(tmp_path / "run", 2)


@contextmanager
def job(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """``kdsearch.tune`` on three sensors, with a teacher that takes for ever unless told otherwise."""
    for name, content in sound().items():
        (folder / name).write_text(str(content))
    usual = (
        "--dataset corner.toml --space space.toml --teacher-epochs 100000 --output out --store store --cache-dir cache"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "kdsearch.tune", *usual.split(), *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def heard(process: subprocess.Popen[str], words: str) -> str:
    """The first line that holds the words."""
    assert process.stdout is not None
    before = []
    for line in process.stdout:
        before.append(line)
        if words in line:
            return line
    raise AssertionError("".join(before))


def test_sigterm_while_the_teacher_is_trained_and_a_second_search_meanwhile(tmp_path: Path) -> None:
    with job(tmp_path) as first:
        heard(first, "ridge AR(12)")  # the next is the teacher
        with job(tmp_path) as second:
            text, _ = ended(second)
        assert second.returncode == 2
        (line,) = text.splitlines()
        assert line.startswith("kdsearch: error: another search is running in ")
        first.send_signal(signal.SIGTERM)
        text, took = ended(first)
    assert first.returncode == 130, text
    assert took < 20  # Ray may still be starting, and is waited for
    assert "interrupted before the search; what was trained is kept, carry on with: python -m kdsearch.tune" in text
    assert "Traceback" not in text
