"""How much of a search is left: not trials times epochs, since most trials are stopped early."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Course", "Remaining", "course_of"]

# What is expected at a rung before anything was seen counts as much as so many trials.
_PRIOR = 2.0


@dataclass(frozen=True)
class Course:
    """How trials are meant to go.

    Attributes:
        epochs: of a full trial.
        grace: epochs before the first rung; 0 where nothing is stopped at rungs.
        reduction: one trial in so many passes a rung.
    """

    epochs: int
    grace: int = 0
    reduction: int = 3

    @property
    def rungs(self) -> list[int]:
        """Epochs at which some trials are stopped."""
        found, rung = [], self.grace
        while 0 < rung < self.epochs:
            found.append(rung)
            rung *= self.reduction
        return found


class Remaining:
    """Estimates the time left from how many of the trials so far survived each epoch.

    The share that an epoch stops is what was seen of it, and at a rung, where little was seen yet, what the scheduler
    is set up for. Asynchronous halving lets more pass than one in ``reduction``, the early trials most of all, so what
    was seen soon counts for more.

    Args:
        course: of the trials.
        concurrency: trials at once.
    """

    def __init__(self, course: Course, concurrency: int) -> None:
        self._course, self._at_once = course, max(1, concurrency)
        self._lasted: Counter[int] = Counter()  # epochs at which trials were stopped, or failed
        self._completed = 0
        self._pace: list[float] = []

    def ended(self, epochs: int, complete: bool, seconds: float) -> None:
        """A trial has ended.

        Args:
            epochs: that it had.
            complete: whether it went to its end.
            seconds: of wall time that it took in this run for each of its epochs; 0 where unknown.
        """
        if complete:
            self._completed += 1
        else:
            self._lasted[max(1, epochs)] += 1
        if seconds > 0:
            self._pace.append(seconds)

    def survival(self, running: Iterable[int] = ()) -> list[float]:
        """For each epoch 1, 2, ... the share of the trials at its end that go on.

        Args:
            running: epochs of the trials under way, which got past all earlier ones.
        """
        under_way, rungs = list(running), set(self._course.rungs)
        share = []
        left = self._completed + self._lasted.total()
        for epoch in range(1, self._course.epochs + 1):
            weight = _PRIOR if epoch in rungs else 0.0
            stopped, seen = self._lasted[epoch], left + sum(done > epoch for done in under_way) + weight
            expected = 1 - 1 / self._course.reduction
            share.append(1 - (stopped + weight * expected) / seen if seen else 1.0)
            left -= stopped
        return share

    def epochs_left(self, survival: list[float], done: int = 0) -> float:
        """Expected further epochs of a trial that has had ``done``, under the shares of :meth:`survival`."""
        total, alive = 0.0, 1.0
        for epoch in range(done + 1, self._course.epochs + 1):
            total += alive
            alive *= survival[epoch - 1]
        return total

    def seconds(self, waiting: int, running: Iterable[tuple[int, float]]) -> float | None:
        """Wall time to the end of the search; None before the first epoch.

        Args:
            waiting: trials that have not begun.
            running: of each trial under way its epochs, and seconds an epoch so far; 0 where unknown.
        """
        running = list(running)
        known = [*self._pace, *(pace for _, pace in running if pace > 0)]
        if not known:
            return None
        usual = sum(known) / len(known)
        survival = self.survival(done for done, _ in running)
        under_way = [self.epochs_left(survival, done) * (pace or usual) for done, pace in running]
        new = self.epochs_left(survival) * usual
        shared = (sum(under_way) + waiting * new) / self._at_once
        # At the end fewer trials are left than places: the longest one alone may take longer than an even share.
        return max([shared, *under_way, new if waiting else 0.0])


def course_of(scheduler: str, epochs: int, grace: int, reduction: int) -> Course:
    """The course under a scheduler; only those of halving have rungs."""
    return Course(epochs, grace if scheduler in ("asha", "hyperband") else 0, reduction)
