"""Losses with correlation distillation in hidden layers: Eqs. 7-11.

L_TCD is taken on the outputs of the temporal layers of both blocks, L_SCD on those of the spatial layers, each as the
mean over its layers (reading).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from kdsearch.distillation.correlation import spatial_correlation_loss, temporal_correlation_loss
from kdsearch.distillation.losses.base import Hyperparameter, LossTerms, Needs, prediction_of, run_length
from kdsearch.distillation.losses.response import ALPHA1, FollowObservedOrTeacher
from kdsearch.distillation.teacher_batch import TeacherBatch
from kdsearch.models.stgcn import Features

__all__ = ["SpaceTime", "SpatialCorrelation", "TemporalCorrelation"]

_ALPHA2 = Hyperparameter("alpha2", 0.0, 1.0, 0.5, "weight of spatial against temporal correlations")
_ALPHA3 = Hyperparameter("alpha3", 0.0, 10.0, 0.3, "weight of the correlations against the response")


class _Correlations(FollowObservedOrTeacher):
    """``L_ORD + alpha3 * (alpha2 * L_SCD + (1 - alpha2) * L_TCD)``, without the terms that ``NEEDS`` leaves out."""

    alpha2: float
    alpha3: float

    def forward(
        self, student: Features, teacher: Features | TeacherBatch | None, target: Tensor, valid: Tensor | None = None
    ) -> LossTerms:
        """Parts: "response", "teacher_share", and "temporal", "spatial" as far as they are computed."""
        response, parts = self.response(student.prediction, prediction_of(teacher), target, valid)
        assert teacher is not None
        total, run = response, run_length(student.prediction)
        if self.needs.temporal_correlation:
            told = teacher.temporal_correlation if isinstance(teacher, TeacherBatch) else teacher.temporal
            temporal = _mean_over_layers(temporal_correlation_loss, student.temporal, told, run)
            parts["temporal"] = temporal.detach()
            total = total + self.alpha3 * (1.0 - self.alpha2) * temporal
        if self.needs.spatial_correlation:
            theirs = teacher.spatial_correlation if isinstance(teacher, TeacherBatch) else teacher.spatial
            spatial = _mean_over_layers(spatial_correlation_loss, student.spatial, theirs, run)
            parts["spatial"] = spatial.detach()
            total = total + self.alpha3 * self.alpha2 * spatial
        return LossTerms(total, parts)


def _mean_over_layers(
    loss: Callable[[Tensor, Any, int], Tensor], student: Sequence[Tensor], teacher: Sequence[Any] | None, run: int
) -> Tensor:
    if teacher is None:
        raise ValueError("this loss reads correlations that the teacher's batch does not hold")
    if len(teacher) != len(student):
        raise ValueError(f"{len(student)} layers of the student face {len(teacher)} of the teacher")
    return torch.stack([loss(s, t, run) for s, t in zip(student, teacher, strict=True)]).mean()


class TemporalCorrelation(_Correlations, name="tcd"):
    """``L_ORD + alpha3 * L_TCD``: Eq. 11 with alpha2 = 0."""

    HYPERPARAMETERS = (ALPHA1, _ALPHA3)
    NEEDS = Needs(prediction=True, temporal_correlation=True)
    alpha2 = 0.0


class SpatialCorrelation(_Correlations, name="scd"):
    """``L_ORD + alpha3 * L_SCD``: Eq. 11 with alpha2 = 1."""

    HYPERPARAMETERS = (ALPHA1, _ALPHA3)
    NEEDS = Needs(prediction=True, spatial_correlation=True)
    alpha2 = 1.0


class SpaceTime(_Correlations, name="stcd"):
    """Eq. 11: ``L_ORD + alpha3 * (alpha2 * L_SCD + (1 - alpha2) * L_TCD)``."""

    HYPERPARAMETERS = (ALPHA1, _ALPHA2, _ALPHA3)
    NEEDS = Needs(prediction=True, temporal_correlation=True, spatial_correlation=True)
