"""How the main job speaks: lines, and on a terminal what is under way below them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from kdsearch.training.report import EpochReport
from kdsearch.training.settings import FitSettings

__all__ = ["Say", "Speaker", "Told", "Trainings", "Work"]

Say = Callable[[str], None]


class _OnWork(Protocol):
    def __call__(self, text: str | None, left_s: float | None = None) -> None: ...


@dataclass(frozen=True)
class Speaker:
    """Takes lines as a plain function does, and also what is under way.

    Attributes:
        line: takes a line.
        work: takes what is under way and the seconds it will still take; None once it has ended.
    """

    line: Say
    work: _OnWork

    def __call__(self, text: str) -> None:
        """Say a line."""
        self.line(text)


class Work:
    """Something that takes long, shown while a ``with`` lasts if who listens can show it.

    Args:
        say: takes a line at a time; a :class:`Speaker` also shows this.
        text: what begins.
    """

    def __init__(self, say: Say, text: str) -> None:
        self._show: _OnWork | None = say.work if isinstance(say, Speaker) else None
        self._text = text

    def now(self, text: str, left_s: float | None = None) -> None:
        """How far it is."""
        if self._show is not None:
            self._show(text, left_s)

    def __enter__(self) -> Self:
        self.now(self._text)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._show is not None:
            self._show(None)


class Told(Work):
    """Says how a training comes on: a line at most twice a minute, and each epoch to a :class:`Speaker`.

    Args:
        say: takes a line at a time.
        label: of the training.
        settings: of the training.
    """

    def __init__(self, say: Say, label: str, settings: FitSettings) -> None:
        super().__init__(say, f"{label}: epoch 1 of {settings.epochs}")
        self._say, self._label, self._settings = say, label, settings
        self._since = 0.0

    def __call__(self, report: EpochReport) -> None:
        """Take note of an epoch."""
        self._since += report.seconds
        epochs, effort = self._settings.epochs, self._settings.effort
        ahead = sum(effort(epoch) for epoch in range(report.epoch + 1, epochs + 1))
        left = report.seconds * ahead / effort(report.epoch)
        best = f", best {report.best_score:.3f}" if math.isfinite(report.best_score) else ""
        if report.epoch < epochs:
            self.now(f"{self._label}: epoch {report.epoch + 1} of {epochs}{best and best + ' mph'}", left)
        if self._since >= 30.0 or report.epoch == 1:
            self._say(
                f"{self._label}: epoch {report.epoch} of {epochs}, validation {report.score:.3f}{best}, "
                f"about {_span(left)} left"
            )
            self._since = 0.0


class Trainings(Work):
    """Counts trainings that run beside each other.

    Args:
        say: takes a line at a time.
        label: of all of them.
        count: how many there are; those kept of an earlier run do not end here.
    """

    def __init__(self, say: Say, label: str, count: int) -> None:
        self._label, self._count, self._ended = label, count, 0
        self._began = time.monotonic()
        super().__init__(say, self._told())

    def one_ended(self) -> None:
        """One more is done."""
        self._ended += 1
        each = (time.monotonic() - self._began) / self._ended
        self.now(self._told(), each * (self._count - self._ended))

    def _told(self) -> str:
        return f"{self._label}: {self._ended} of {self._count} trainings done"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
