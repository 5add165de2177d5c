"""What a trial sends to the driver after each epoch, and who may listen to it there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdsearch.search.runner import SearchResult

__all__ = ["Listener", "Report"]


@dataclass
class Report:
    """One epoch of one trial, with all that the study, the listeners and a later resume need.

    It is an object and not a dictionary, because Tune flattens dictionaries.

    Attributes:
        epoch, score, validation, losses, learning_rate, seconds: as in :class:`kdsearch.search.objective.EpochReport`.
        best_score: lowest finite score so far, infinite before the first.
        best_epoch, best_validation: of the best score.
        cost: what a search of two objectives weighs against the score, once the network has its final shape.
        total_seconds: of all epochs of the trial, also those before an interruption.
        error: one line where the trial raised; the epoch is then the last good one.
        traceback: end of the traceback of the error.
        out_of_memory: whether the error was that memory, of the machine or of the device, was used up.
        histograms: as in :class:`kdsearch.search.objective.EpochReport`.
        state: what the trial can be carried on from, where a checkpoint was due; the driver takes it out.
    """

    epoch: int
    score: float = math.nan
    validation: Mapping[str, float] = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=dict)
    learning_rate: float = math.nan
    seconds: float = 0.0
    best_score: float = math.inf
    best_epoch: int = 0
    best_validation: Mapping[str, float] = field(default_factory=dict)
    cost: float | None = None
    total_seconds: float = 0.0
    error: str | None = None
    traceback: str | None = None
    out_of_memory: bool = False
    state: bytes | None = field(default=None, repr=False)
    histograms: Mapping[str, Sequence[tuple[int, Mapping[str, Any]]]] = field(default_factory=dict, repr=False)


class Listener:
    """Hears of everything in a search, in the driver; each method may be overridden and does nothing by default.

    A listener that raises is told nothing more; the search goes on without it.

    Attributes:
        shows_stop: whether it tells the user of Ctrl-C in :meth:`on_stop`, so that nothing else needs to.
    """

    @property
    def shows_stop(self) -> bool:
        """See above."""
        return False

    def on_search_start(self, wanted: int, finished: int, concurrency: int) -> None:
        """A search begins or goes on: ``wanted`` trials in total, ``finished`` of them already."""

    def on_trial_start(self, number: int, params: Mapping[str, Any], epoch: int) -> None:
        """A trial begins, or is carried on after ``epoch`` epochs."""

    def on_epoch(self, number: int, params: Mapping[str, Any], report: Report) -> None:
        """A trial has finished an epoch; each epoch of a trial is told once."""

    def on_trial_end(
        self,
        number: int,
        state: str,
        params: Mapping[str, Any],
        best_score: float | None,
        best_validation: Mapping[str, float],
        report: Report | None = None,
    ) -> None:
        """A trial is ``COMPLETE``, ``PRUNED`` or ``FAIL``; ``best_score`` is None where no epoch was finite."""

    def on_message(self, text: str) -> None:
        """Something a user should know, in one line."""

    def on_stop(self, reason: str) -> None:
        """The search is asked to end: ``"interrupted"`` by a signal, or ``"time budget"``. It does so soon."""

    def on_search_end(self, result: SearchResult) -> None:
        """The search has ended, for whatever reason."""
