"""Distances between all node-time positions of a feature, student's against teacher's (loss ``skd``)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kdsearch.distillation import _kernels

__all__ = ["graph_matching_loss"]

# Elements of one distance matrix in the torch form: 16 MB in float32.
_CHUNK = 1 << 22


def graph_matching_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Smooth L1 between the pairwise Euclidean distances of student and teacher, each over its sample's mean distance.

    Args:
        student: ``[B, M, C]``, M positions of each sample.
        teacher: ``[B, M, C']``.

    Returns:
        Scalar, the mean over samples and pairs ``i < j``; differentiable once with respect to ``student``. Two
        positions with equal features send no gradient.
    """
    if student.dim() != 3 or student.shape[:2] != teacher.shape[:2] or student.shape[1] < 2:
        raise ValueError(f"positions of student {list(student.shape)} and teacher {list(teacher.shape)} do not match")
    loss: Tensor = _GraphMatching.apply(student, teacher.detach())  # type: ignore[no-untyped-call]
    return loss


class _GraphMatching(torch.autograd.Function):
    """Loss and gradient together, a few samples at a time: all distances of a batch would be 170 MB a matrix."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        x, y = student.detach(), teacher.to(student.dtype)
        batch = len(x)
        if _kernels.usable(x):
            x, y = x.transpose(1, 2).contiguous(), y.transpose(1, 2).contiguous()
            sums, grad = torch.empty(batch, dtype=torch.float64), torch.zeros_like(x)
            _kernels.each_row(_kernels.graph_pass, batch, x.numpy(), y.numpy(), sums.numpy(), grad.numpy())
            grad = grad.transpose(1, 2)
        else:
            at_once = max(1, _CHUNK // x.shape[1] ** 2)
            done = [_graph_pass(a, b) for a, b in zip(x.split(at_once), y.split(at_once), strict=True)]
            sums, grad = (torch.cat(both) for both in zip(*done, strict=True))
        ctx.save_for_backward(grad / batch)
        return sums.mean().to(student.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        (grad,) = ctx.saved_tensors
        return grad * slope, None


def _graph_pass(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of each sample and its gradient: ``x [B, M, C], y [B, M, C'] -> [B], [B, M, C]``.

    With distances d, their mean m and errors ``z = d / m - t``, the loss is ``L = mean h(z)`` over P pairs and
    ``dL/dd = (h'(z) - mean(h'(z) d) / m) / (P m)``: the second part comes through m.
    """
    positions = x.shape[1]
    # Whole matrices; the diagonal is zero everywhere, so sums over pairs i < j are half of theirs.
    both = positions * (positions - 1)
    exact = "donot_use_mm_for_euclid_dist"
    d, t = torch.cdist(x, x, compute_mode=exact), torch.cdist(y, y, compute_mode=exact)
    m = d.sum(dim=(1, 2), keepdim=True) / both
    t = t / (t.sum(dim=(1, 2), keepdim=True) / both).clamp(min=torch.finfo(t.dtype).tiny)
    m = m.clamp(min=torch.finfo(d.dtype).tiny)
    z = d / m - t
    bend = z.clamp(-1.0, 1.0)
    loss = (bend * (z - 0.5 * bend)).sum(dim=(1, 2)) / both
    pull = (bend - (bend * d).sum(dim=(1, 2), keepdim=True) / (both * m)) * (2.0 / both) / m
    pull = torch.where(d > 0, pull / d, 0.0)
    return loss, x * pull.sum(dim=2, keepdim=True) - pull @ x
