"""What a training leaves behind, epoch by epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

__all__ = ["EpochReport", "FitResult", "Histograms"]

Histograms = dict[str, list[tuple[int, dict[str, Any]]]]


@dataclass
class EpochReport:
    """What one epoch leaves behind.

    Attributes:
        epoch: counted from 1.
        score: mean of the three validation MAEs in mph; NaN once the network diverged.
        validation: the nine validation figures.
        losses: mean of each part of the loss over the epoch's updates, "total" among them; figures of the pruning at
            the epoch's end have names that begin with "pruning/".
        learning_rate: of this epoch.
        seconds: wall time of training and validation.
        histograms: of the pruning stages done in this epoch, by name: minibatches done at each and what
            :class:`kdsearch.pruning.importance.Statistics` holds, as plain values.
        best_score: lowest score so far, also of epochs before the training was carried on; infinite before one counts.
    """

    epoch: int
    score: float
    validation: dict[str, float]
    losses: dict[str, float]
    learning_rate: float
    seconds: float
    histograms: Histograms = field(default_factory=dict)
    best_score: float = math.inf


@dataclass
class FitResult:
    """The best epoch of a training and all that led there."""

    best: EpochReport
    history: list[EpochReport] = field(default_factory=list)
