"""What a search asks of the thing it searches: the one protocol between this room and the rest.

Nothing here imports ray or optuna, so an objective can be written, tested and run without either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["EpochReport", "Objective", "TrialRun"]


class EpochReport(Protocol):
    """One epoch of a trial; :class:`kdsearch.training.EpochReport` is one.

    It may also have ``histograms``: by name, a list of steps and the fields of a
    :class:`kdsearch.pruning.importance.Statistics`.
    """

    @property
    def epoch(self) -> int:
        """Counted from 1."""

    @property
    def score(self) -> float:
        """Validation score of this epoch, lower is better; NaN once the trial has diverged."""

    @property
    def validation(self) -> Mapping[str, float]:
        """The validation figures behind the score."""

    @property
    def losses(self) -> Mapping[str, float]:
        """Mean of each part of the loss over the epoch."""

    @property
    def learning_rate(self) -> float:
        """In force during this epoch."""

    @property
    def seconds(self) -> float:
        """Wall time of the epoch."""


class TrialRun(Protocol):
    """One trial in progress; :class:`kdsearch.training.Trainer` is one.

    A run does not know when to stop: the search counts its epochs.
    """

    @property
    def best_score(self) -> float:
        """Lowest finite score so far, infinite before the first; an epoch need not count (one of pruning does not)."""

    @property
    def best_epoch(self) -> int:
        """Epoch of the best score, 0 before the first finite one."""

    @property
    def best_validation(self) -> Mapping[str, float]:
        """Validation figures of the best epoch."""

    @property
    def best_weights(self) -> Mapping[str, Any]:
        """Tensors of the best epoch, by name."""

    @property
    def cost(self) -> float | None:
        """What a search of two objectives weighs against the score; None before it is known, and in other searches."""

    @property
    def layout(self) -> Mapping[str, Any] | None:
        """Shape of the network that the best weights are of, as plain values; None where every trial's is the same."""

    def epoch(self) -> EpochReport:
        """Train and validate one epoch."""

    def state_dict(self) -> Mapping[str, Any]:
        """All that :meth:`load_state_dict` needs: tensors and plain values only, it is read back ``weights_only``."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Carry on exactly where another run, built alike, had come to."""


class Objective(Protocol):
    """Builds trials. It is pickled once a machine: its numpy arrays arrive read-only in memory shared by all trials."""

    def trainer(self, params: Mapping[str, Any], device: str, seed: int) -> TrialRun:
        """Build one trial from nothing but the arguments, reseeding whatever is random.

        Args:
            params: every hyperparameter, searched and fixed.
            device: ``"cpu"`` or ``"cuda"``.
            seed: of everything random in the trial.
        """
