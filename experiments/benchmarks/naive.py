"""L_STCD (Eq. 11) as its formulas read: the teacher runs on every window, correlations broadcast ``F_i - F_j``."""

from __future__ import annotations

import torch
from torch import Tensor

from kdsearch.distillation.losses import LossTerms
from kdsearch.distillation.losses.space_time import SpaceTime
from kdsearch.distillation.teacher_batch import TeacherBatch
from kdsearch.models.stgcn import Features

__all__ = ["NaiveSpaceTime", "naive_stcd"]


def temporal_correlation(f: Tensor) -> Tensor:
    """Eq. 7 for all pairs of steps: ``[B, T, N, C] -> [B, T, T, N]``."""
    return (f[:, :, None] - f[:, None, :]).abs().mean(dim=-1)


def spatial_correlation(f: Tensor) -> Tensor:
    """Eq. 9 for all pairs of nodes: ``[B, T, N, C] -> [B, T, N, N]``."""
    return (f[:, :, :, None] - f[:, :, None, :]).abs().mean(dim=-1)


def naive_stcd(
    student: Features, teacher: Features, target: Tensor, alpha1: float, alpha2: float, alpha3: float
) -> Tensor:
    """``L_ORD + alpha3 * (alpha2 * L_SCD + (1 - alpha2) * L_TCD)``, the correlations as means over pairs ``i < j``."""
    d = (teacher.prediction - target).abs()
    d = (d - d.min()) / (d.max() - d.min())
    goal = torch.where(d > alpha1, teacher.prediction, target)
    response = ((student.prediction - goal) ** 2).mean()
    temporal = [
        ((temporal_correlation(s) - temporal_correlation(t)) ** 2).sum() / _pairs(s.shape[1], s.shape[0] * s.shape[2])
        for s, t in zip(student.temporal, teacher.temporal, strict=True)
    ]
    spatial = [
        ((spatial_correlation(s) - spatial_correlation(t)) ** 2).sum() / _pairs(s.shape[2], s.shape[0] * s.shape[1])
        for s, t in zip(student.spatial, teacher.spatial, strict=True)
    ]
    correlations = alpha2 * torch.stack(spatial).mean() + (1 - alpha2) * torch.stack(temporal).mean()
    return response + alpha3 * correlations


class NaiveSpaceTime(SpaceTime):
    """The same as a loss that a training can have; it wants a teacher that runs with it, and complete readings."""

    def forward(
        self, student: Features, teacher: Features | TeacherBatch | None, target: Tensor, valid: Tensor | None = None
    ) -> LossTerms:
        """No parts but the total."""
        if not isinstance(teacher, Features) or (valid is not None and not bool(valid.all())):
            raise ValueError("the naive loss is for a live teacher and complete readings")
        total = naive_stcd(student, teacher, target, self.alpha1, self.alpha2, self.alpha3)
        return LossTerms(total, {})


def _pairs(n: int, times: int) -> int:
    """All ordered pairs of the matrix stand for the unordered ones: the diagonal is zero."""
    return times * n * (n - 1)
