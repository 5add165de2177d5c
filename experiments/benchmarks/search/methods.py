"""Who takes part, and how one search of one of them is run in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.benchmarks.search.task import Task

__all__ = ["METHODS", "Method", "installed", "run"]

# Seconds a search may take to close its books after its budget; then it is ended.
_CLOSING_S = 8.0
_KILL_S = 4.0
_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Method:
    """A rival.

    Attributes:
        name: on the command line.
        label: in tables and pictures.
        module: started with ``python -m``; takes the file of a task.
        package: it cannot run without, beside what kdsearch needs.
        arguments: of the module, after the file.
    """

    name: str
    label: str
    module: str
    package: str | None = None
    arguments: tuple[str, ...] = ()


_HERE = "experiments.benchmarks.search"
METHODS: Mapping[str, Method] = {
    m.name: m
    for m in (
        Method("ours", "kdsearch, TPE + ASHA", f"{_HERE}.ours", arguments=("tpe",)),
        Method("ours_gp", "kdsearch, GP + ASHA", f"{_HERE}.ours", arguments=("gp",)),
        Method("random", "random search", f"{_HERE}.random_search"),
        Method("optuna", "Optuna, TPE + median", f"{_HERE}.plain_optuna"),
        Method("ray", "Ray Tune, Optuna + ASHA", f"{_HERE}.stock_ray"),
        Method("syne_tune", "Syne Tune, ASHA", f"{_HERE}.syne_asha", "syne_tune"),
    )
}


def installed(method: Method, python: str) -> bool:
    """Whether a Python has what a method needs."""
    if method.package is None:
        return True
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({method.package!r}) is None)"
    return subprocess.run([python, "-c", code], env=_environment(), check=False).returncode == 0


def run(method: Method, task: Task, folder: Path, python: str = sys.executable) -> int:
    """One search, from the start of its command to its end; the task's moment of start is set here.

    Args:
        method: whose.
        task: its log is replaced.
        folder: for the task's file and for what the process prints.
        python: runs it.

    Returns:
        Its exit code; that of the signal, negative, where it was still running long after its budget.
    """
    log, file = Path(task.log), folder / "task.json"
    log.write_text("")
    with open(folder / "printed.txt", "w", encoding="utf-8") as printed:
        task = replace(task, started=time.time())
        task.write(file)
        process = subprocess.Popen(
            [python, "-m", method.module, str(file), *method.arguments],
            stdout=printed,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env=_environment(),
            start_new_session=True,
        )
        try:
            code = _wait(process, task.budget_s + _CLOSING_S)
        finally:
            _end(process)
    return code if code is not None else process.wait()


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(seconds)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process with all that it started in its session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        _wait(process, _KILL_S)


def _environment() -> dict[str, str]:
    """This process's, with the checkout first on the path of modules."""
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def read_log(file: Path) -> list[dict[str, object]]:
    """The lines of a log; one that was cut off by the end of its writer is left out."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found
