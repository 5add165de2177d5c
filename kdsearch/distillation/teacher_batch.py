"""What a loss is handed of the teacher for one minibatch, read from the bank."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from kdsearch.distillation.packed import CorrelationRows
from kdsearch.distillation.sampled import SampledRows

__all__ = ["TeacherBatch"]


@dataclass
class TeacherBatch:
    """The teacher's part of one minibatch: what a loss says it ``needs``; the rest may be absent.

    Attributes:
        prediction: z-scored forecasts, shaped like the student's prediction.
        temporal_correlation: rows of the bank for every temporal layer, in the order of ``Features.temporal``.
        spatial_correlation: the same for the spatial layers, of all pairs or of sampled ones.
        temporal: features ``[B, T_l, N, C_l]`` of the temporal layers a loss asked for, None for the others.
        spatial: the same for the spatial layers.
        rollout: z-scored forecasts ``[B, steps, N]`` of the teacher fed with its own, for training through a roll-out.
    """

    prediction: Tensor
    temporal_correlation: list[CorrelationRows] | None = None
    spatial_correlation: list[CorrelationRows] | list[SampledRows] | None = None
    temporal: list[Tensor | None] = field(default_factory=list)
    spatial: list[Tensor | None] = field(default_factory=list)
    rollout: Tensor | None = None
