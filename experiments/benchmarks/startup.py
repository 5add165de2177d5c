"""How long a user waits: for the help text, and for the first update of the first trial.

Run as a script it is ``kdsearch.tune`` whose trials write down when their first update was done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["first_step_seconds", "help_seconds"]

_SPLIT = {"train": 5, "validation": 1, "test": 1}
_TOML = """\
[speeds]
file = "speeds.csv"
[graph]
file = "distances.csv"
[split]
train = {train}
validation = {validation}
test = {test}
"""
_TIMEOUT_S = 120.0


def help_seconds(repeats: int) -> float:
    """Median seconds of ``python -m kdsearch.tune --help``."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "kdsearch.tune", "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def first_step_seconds(n_nodes: int, batch: int, repeats: int) -> tuple[float, float]:
    """Seconds from the start of ``kdsearch.tune --loss stcd`` to the first update that a trial has finished.

    The dataset is a week of readings in files, simulated; teacher and student lie in the cache, untrained. All else is
    the main job: reading, baselines, bank, Ray, Optuna, workers.

    Returns:
        Of the first search with a teacher, which makes its bank; and the median of ``repeats`` later ones, which find
        it in the cache.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = _write_inputs(folder, n_nodes, batch)
        first, *later = (_first_step(folder / str(k), arguments) for k in range(1 + repeats))
        return first, statistics.median(later)


def _first_step(folder: Path, arguments: list[str]) -> float:
    folder.mkdir()
    mark = folder / "mark"
    log = (folder / "log").open("w")
    began = time.time()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "experiments.benchmarks.startup",
            str(mark),
            *arguments,
            "--output",
            str(folder / "out"),
        ],
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        while not mark.exists():
            if process.poll() is not None or time.time() - began > _TIMEOUT_S:
                raise RuntimeError(f"the search made no step:\n{(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)
        return float(mark.read_text()) - began
    finally:
        log.close()
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does; a second time if the first is not enough."""
    for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(sent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)


def _write_inputs(folder: Path, n_nodes: int, batch: int) -> list[str]:
    """Readings, distances, declaration and cached networks; the arguments that name them."""
    import numpy as np

    from experiments.benchmarks.workload import simulated
    from kdsearch.job.plan import check
    from kdsearch.job.settings import JobSettings
    from kdsearch.models.stgcn import STUDENT, TEACHER
    from kdsearch.training.checkpoint import Checkpoint, save_checkpoint
    from kdsearch.training.network import new_network
    from kdsearch.training.reference import path_of

    made = simulated(n_nodes, sum(_SPLIT.values()))
    np.savetxt(folder / "speeds.csv", made.speeds.reshape(-1, n_nodes), "%.1f", ",")
    np.savetxt(folder / "distances.csv", made.distances, "%.1f", ",")
    declaration = folder / "simulated.toml"
    declaration.write_text(_TOML.format(**_SPLIT))
    cache, output = folder / "cache", folder / "none"
    plan = check(JobSettings(dataset=str(declaration), cache_dir=cache, output=output, gpus_per_trial=0), search=False)
    dataset = plan.dataset
    student = dataclasses.replace(plan.student, seed=plan.seeds[0])
    for name, channels, fitted in (("teacher", TEACHER, plan.teacher), ("student", STUDENT, student)):
        weights = new_network(dataset, channels, seed=0).state_dict()
        kept = Checkpoint(channels, weights, dataset.name, dataset.fingerprint, 1, {"score": 1.0}, 1.0)
        save_checkpoint(path_of(cache, dataset, name, channels, fitted), kept)
    return [
        *("--dataset", str(declaration), "--cache-dir", str(cache), "--store", str(folder / "store")),
        *("--loss", "stcd", "--gpus-per-trial", "0", "--set", f"batch_size={batch}"),
    ]


@dataclasses.dataclass
class _Marked:
    """An objective whose trials write the time of their first update to ``mark``, if no other has."""

    objective: Any
    mark: str

    def trainer(self, params: Mapping[str, Any], device: str, seed: int) -> Any:
        trainer = self.objective.trainer(params, device, seed)
        update = trainer.update

        def first(index: Any) -> Any:
            done = update(index)
            trainer.update = update
            _write_once(self.mark, str(time.time()))
            return done

        trainer.update = first
        return trainer


def _write_once(path: str, text: str) -> None:
    whole = f"{path}.{os.getpid()}"
    Path(whole).write_text(text)
    with contextlib.suppress(FileExistsError):
        os.link(whole, path)


def _main() -> int:
    mark, arguments = sys.argv[1], sys.argv[2:]
    from kdsearch import command, tune
    from kdsearch.job import prepare

    build = prepare.build_objective
    prepare.build_objective = lambda *given: _Marked(build(*given), mark)
    return command.run(tune.main, arguments)


if __name__ == "__main__":
    sys.exit(_main())
