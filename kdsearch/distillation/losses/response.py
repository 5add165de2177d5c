"""Losses on the outputs: plain training and response distillation, Eqs. 1-6.

``||.||_2`` of a scalar is read as the squared error, as STGCN's own loss has it, and terms are means over (b, i), of
the valid ones where a mask is given (readings).
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdsearch.distillation.losses.base import (
    Hyperparameter,
    Loss,
    LossTerms,
    Needs,
    given,
    masked_mean,
    prediction_of,
)
from kdsearch.distillation.teacher_batch import TeacherBatch
from kdsearch.models.stgcn import Features

__all__ = ["ALPHA1", "FollowObservedOrTeacher", "NoDistillation", "ObservedOrTeacher", "ResponseKL", "ResponseL2"]

_BETA = Hyperparameter("beta", 0.0, 1.0, 0.1, "weight of the teacher's term against the target's")
ALPHA1 = Hyperparameter("alpha1", 0.0, 1.0, 0.5, "scaled teacher error above which the student follows the teacher")


class NoDistillation(Loss, name="none"):
    """Squared error to the target: training without a teacher (Yu et al. 2018, section 3.4)."""

    def forward(
        self, student: Features, teacher: Features | TeacherBatch | None, target: Tensor, valid: Tensor | None = None
    ) -> LossTerms:
        """Parts: "response"."""
        return LossTerms(*self.response(student.prediction, None, target, valid))


class ResponseL2(Loss, name="rd_l2"):
    """Eq. 3: ``beta * (y^s - y^t)^2 + (1 - beta) * (y^s - T)^2``."""

    HYPERPARAMETERS = (_BETA,)
    NEEDS = Needs(prediction=True)
    beta: float

    def forward(
        self, student: Features, teacher: Features | TeacherBatch | None, target: Tensor, valid: Tensor | None = None
    ) -> LossTerms:
        """Parts: "response", "distillation"."""
        return LossTerms(*self.response(student.prediction, prediction_of(teacher), target, valid))

    def response(
        self, prediction: Tensor, teacher: Tensor | None, target: Tensor, valid: Tensor | None, by_step: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 3."""
        task = masked_mean(self.pointwise(prediction - target), valid)
        distillation = masked_mean(self.pointwise(prediction - given(teacher)), valid)
        total = self.beta * distillation + (1.0 - self.beta) * task
        return total, {"response": task.detach(), "distillation": distillation.detach()}


class ResponseKL(Loss, name="rd_kl"):
    """Eqs. 1, 2: ``beta * KL(y^s, y^t) + (1 - beta) * (y^s - T)^2``.

    Eq. 1, ``p log(p / q)``, has no lower bound for outputs that are no distributions; it is read as the generalised
    divergence ``p log(p / q) - p + q`` of the de-normalised speeds, p the teacher's and q the student's, both clamped
    from below at 1% of the data's mean (reading). Near p = q it is ``(p - q)^2 / (2 p)``; multiplied by
    ``2 * mean / std^2`` it becomes ``(z_p - z_q)^2 * mean / p``, the squared error of z-scores for speeds about the
    mean, so that beta weighs terms of like size.
    """

    HYPERPARAMETERS = (_BETA,)
    NEEDS = Needs(prediction=True)
    NEEDS_SCALE = True
    beta: float

    def forward(
        self, student: Features, teacher: Features | TeacherBatch | None, target: Tensor, valid: Tensor | None = None
    ) -> LossTerms:
        """Parts: "response", "distillation"."""
        return LossTerms(*self.response(student.prediction, prediction_of(teacher), target, valid))

    def response(
        self, prediction: Tensor, teacher: Tensor | None, target: Tensor, valid: Tensor | None, by_step: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 2."""
        assert self.scale is not None
        mean, std = self.scale.mean, self.scale.std
        p = (given(teacher) * std + mean).clamp(min=0.01 * mean)
        q = (prediction * std + mean).clamp(min=0.01 * mean)
        gap = (q - p) / p
        # p log(p / q) - p + q, which would be the small difference of large numbers.
        divergence = p * (gap - gap.log1p()) * (2.0 * mean / std**2)
        task = masked_mean(self.pointwise(prediction - target), valid)
        distillation = masked_mean(divergence, valid)
        total = self.beta * distillation + (1.0 - self.beta) * task
        return total, {"response": task.detach(), "distillation": distillation.detach()}


class FollowObservedOrTeacher(Loss):
    """Base of the losses whose response term is L_ORD (Eqs. 4-6)."""

    alpha1: float

    def response(
        self, prediction: Tensor, teacher: Tensor | None, target: Tensor, valid: Tensor | None, by_step: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Eqs. 4-6; the share of (b, i) with ``D > alpha1`` is the part "teacher_share".

        ``D`` is min-max scaled over the batch; of a roll-out at each step by itself, as errors grow with the steps.
        Where all D are equal they scale to 0, so the target is followed.
        """
        known = given(teacher)
        with torch.no_grad():
            d = (known - target).abs()
            over = (0, 2) if by_step else tuple(range(d.dim()))
            below, above = (d, d) if valid is None else (d.where(valid, torch.inf), d.where(valid, -torch.inf))
            low, high = below.amin(over, keepdim=True), above.amax(over, keepdim=True)
            follow = d - low > self.alpha1 * (high - low)
            goal = torch.where(follow, known, target)
            share = masked_mean(follow.to(d.dtype), valid)
        response = masked_mean(self.pointwise(prediction - goal), valid)
        return response, {"response": response.detach(), "teacher_share": share}


class ObservedOrTeacher(FollowObservedOrTeacher, name="ord"):
    """Eqs. 4-6: the target where the teacher comes close to it, the teacher where even it fails.

    ``D = |y^t - T|``, min-max scaled over the batch (reading: Table 6's ratios below 1/N rule out scaling per sample);
    squared error to T where ``D <= alpha1``, to y^t where ``D > alpha1``. The share of the latter (Table 6) is the part
    "teacher_share".
    """

    HYPERPARAMETERS = (ALPHA1,)
    NEEDS = Needs(prediction=True)

    def forward(
        self, student: Features, teacher: Features | TeacherBatch | None, target: Tensor, valid: Tensor | None = None
    ) -> LossTerms:
        """Parts: "response", "teacher_share"."""
        return LossTerms(*self.response(student.prediction, prediction_of(teacher), target, valid))
