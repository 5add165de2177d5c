"""Structural knowledge distillation: graph matching and gradient revision (Bian et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from kdsearch.distillation.graph_matching import graph_matching_loss
from kdsearch.distillation.losses.base import (
    Hyperparameter,
    Loss,
    LossTerms,
    Needs,
    run_length,
    temporal_feature,
)
from kdsearch.distillation.teacher_batch import TeacherBatch
from kdsearch.models.stgcn import Features

__all__ = ["Structural"]


class Structural(Loss, name="skd"):
    """Bian et al. 2021: ``(1 - alpha) * task + alpha * matching``, with revised gradients (reading).

    The matching term compares the pairwise Euclidean distances between all node-time positions of the last hidden
    feature (output of the last temporal layer of block 2, 4 N positions), each matrix over its mean, by smooth L1.

    Gradient revision: where the distillation gradient (over all parameters) has a negative product with the task's, its
    part along the task's is taken away, which leaves its projection on the task gradient's normal plane.
    """

    HYPERPARAMETERS = (Hyperparameter("alpha", 0.0, 1.0, 0.3, "weight of graph matching against the task"),)
    NEEDS = Needs(temporal_features=(3,))
    alpha: float

    def response(
        self, prediction: Tensor, teacher: Tensor | None, target: Tensor, valid: Tensor | None, by_step: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The task: the error to the target, times ``1 - alpha``."""
        error, parts = super().response(prediction, teacher, target, valid, by_step)
        return (1.0 - self.alpha) * error, parts

    def forward(
        self, student: Features, teacher: Features | TeacherBatch | None, target: Tensor, valid: Tensor | None = None
    ) -> LossTerms:
        """Parts: "response", "distillation"."""
        run = run_length(student.prediction)
        task, parts = self.response(student.prediction, None, target, valid)
        mine, theirs = _positions(student.temporal[3], run), _positions(temporal_feature(teacher, 3), run)
        matching = graph_matching_loss(mine, theirs)
        distillation = self.alpha * matching
        return LossTerms(task + distillation, parts | {"distillation": matching.detach()}, task, distillation)

    def backward(self, terms: LossTerms, parameters: Iterable[nn.Parameter], scale: float = 1.0) -> None:
        """Add ``scale`` times the revised gradient to ``.grad``."""
        assert terms.task is not None
        assert terms.distillation is not None
        wanted = [p for p in parameters if p.requires_grad]
        task = torch.autograd.grad(terms.task * scale, wanted, retain_graph=True, materialize_grads=True)
        distillation = torch.autograd.grad(terms.distillation * scale, wanted, materialize_grads=True)
        product = torch.stack([(a * b).sum() for a, b in zip(task, distillation, strict=True)]).sum()
        norm = torch.stack([a.square().sum() for a in task]).sum()
        # Tensor arithmetic throughout: the sign is never asked for on the host.
        along = torch.where(product < 0, product / norm, 0.0)
        for p, a, b in zip(wanted, task, distillation, strict=True):
            revised = a + b - along * a
            p.grad = revised if p.grad is None else p.grad + revised


def _positions(feature: Tensor, run: int) -> Tensor:
    """``[B, T, N, C] -> [B * run, (T - run + 1) * N, C]``: the positions of every window."""
    window = feature.shape[1] - run + 1
    return feature.unfold(1, window, 1).permute(0, 1, 4, 2, 3).flatten(2, 3).flatten(0, 1)
