"""What every rival is given: the same objective, the same space, one log, one moment to end."""

from __future__ import annotations

import json
import pickle
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kdsearch.search.objective import EpochReport, Objective, TrialRun
    from kdsearch.search.space import Space

__all__ = ["Recorded", "RecordedObjective", "Task", "TimeUp", "epochs", "load_objective", "save_objective"]

_PICKLE = "objective.pickle"


class TimeUp(Exception):
    """The budget of a search is spent."""


@dataclass(frozen=True)
class Task:
    """One search of one rival.

    Attributes:
        prepared: folder that :func:`save_objective` wrote.
        output: folder for whatever the search writes.
        log: file that takes a line an epoch.
        seed: of the search and of every trial in it.
        epochs: of a full trial.
        grace, reduction: rungs of our early stopping; the rivals have their own defaults.
        budget_s: wall time of the search.
        started: when its command was started, seconds since the epoch of the clock.
        workers: trials at once, one thread each.
    """

    prepared: str
    output: str
    log: str
    seed: int
    epochs: int
    grace: int
    reduction: int
    budget_s: float
    started: float
    workers: int = 2

    @property
    def passed(self) -> float:
        """Seconds since the command was started."""
        return time.time() - self.started

    @property
    def remaining(self) -> float:
        """Seconds left of the budget."""
        return self.budget_s - self.passed

    def write(self, file: Path) -> None:
        """As JSON."""
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, file: str | Path) -> Task:
        """What :meth:`write` wrote."""
        return cls(**json.loads(Path(file).read_text()))

    def objective(self) -> RecordedObjective:
        """The objective, memory-mapped, its trials recorded."""
        return RecordedObjective(load_objective(Path(self.prepared))[0], self)

    def space(self) -> Space:
        """What is searched."""
        return load_objective(Path(self.prepared))[1]


def save_objective(objective: Objective, space: Space, folder: Path) -> None:
    """Write objective and space so that arrays can be mapped: one ``.npy`` an array, all else in a pickle."""
    folder.mkdir(parents=True, exist_ok=True)
    buffers: list[pickle.PickleBuffer] = []
    (folder / _PICKLE).write_bytes(pickle.dumps((objective, space), protocol=5, buffer_callback=buffers.append))
    for number, buffer in enumerate(buffers):
        np.save(folder / f"{number}.npy", np.frombuffer(buffer.raw(), dtype=np.uint8))


def load_objective(folder: Path) -> tuple[Any, Any]:
    """Objective and space; arrays are read-only maps of the files, so processes of a machine share their pages."""
    files = sorted(folder.glob("*.npy"), key=lambda file: int(file.stem))
    buffers = [np.load(file, mmap_mode="r") for file in files]
    found: tuple[Any, Any] = pickle.loads((folder / _PICKLE).read_bytes(), buffers=buffers)
    return found


class Recorded:
    """A trial that writes a line into the log when it begins and after each epoch, whoever runs it."""

    def __init__(self, run: TrialRun, params: Mapping[str, Any], task: Task) -> None:
        self._run, self._task, self._id = run, task, uuid.uuid4().hex[:12]
        self._write(epoch=0, params=dict(params))

    def _write(self, **entry: Any) -> None:
        line = json.dumps({"seconds": self._task.passed, "trial": self._id, **entry}) + "\n"
        with open(self._task.log, "a", encoding="utf-8") as log:  # a short line is appended whole
            log.write(line)

    def epoch(self) -> EpochReport:
        """One epoch of the trial."""
        wall, cpu = time.perf_counter(), time.process_time()
        report = self._run.epoch()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        self._write(epoch=report.epoch, score=report.score, wall=wall, cpu=cpu)
        return report

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)


@dataclass(frozen=True)
class RecordedObjective:
    """An objective whose trials are :class:`Recorded` and have one thread."""

    objective: Any
    task: Task

    def trainer(self, params: Mapping[str, Any], device: str, seed: int) -> Any:
        """A trial."""
        import torch

        torch.set_num_threads(1)
        return Recorded(self.objective.trainer(params, device, seed), params, self.task)


def epochs(run: Any, task: Task) -> Iterator[EpochReport]:
    """A full trial, epoch by epoch, for rivals whose loop is ours to write.

    Raises:
        TimeUp: before an epoch, where no time is left.
    """
    for _ in range(task.epochs):
        if task.remaining <= 0:
            raise TimeUp
        yield run.epoch()
