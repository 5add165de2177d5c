"""The correlation losses and their gradients in plain torch: any device, any precision.

Used for double precision, on CUDA, and where Numba is not installed. Shapes are those of the Numba kernels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from kdsearch.distillation.packed import CorrelationRows, PackedCorrelation

__all__ = ["spatial", "spatial_whole", "temporal"]


def spatial(x: Tensor, bank: PackedCorrelation, rows: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 10 and its gradient: ``x [R, C, N], rows [R], weight [R] -> weighted sums [R], gradient [R, C, N]``."""
    if x.is_cuda and not _broken:
        try:
            return compiled(x, bank, rows, weight)
        except torch.OutOfMemoryError:
            raise
        except Exception as problem:
            # Any backend may lack a compiler or a feature; the loop below gives the same numbers.
            warnings.warn(f"torch.compile failed, going on without it: {problem}", RuntimeWarning, stacklevel=2)
            _broken.append(True)
    channels, n = x.shape[1:]
    sums, grad = torch.zeros_like(weight, dtype=torch.float64), torch.zeros_like(x)
    values, scale = bank.values[rows], bank.scale[rows, None].to(x.dtype)
    base = 0
    for i in range(n - 1):  # one node against all later ones: temporaries of [R, C, N]
        d = x[:, :, i, None] - x[:, :, i + 1 :]
        error = d.abs().mean(dim=1) - values[:, base : base + n - 1 - i] * scale
        sums += (error * error).sum(dim=1)
        slope = (error * (2.0 / channels) * weight[:, None])[:, None] * d.sign()
        grad[:, :, i] += slope.sum(dim=2)
        grad[:, :, i + 1 :] -= slope
        base += n - 1 - i
    return sums * weight, grad


_WIDTHS = 128
_broken: list[bool] = []


def compiled(x: Tensor, bank: PackedCorrelation, rows: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`spatial` in one kernel, compiled once for each number of channels."""
    # A pruning passes through many widths: past the limit Dynamo would go on without compiling, and write [R, N, N].
    with torch.compiler.config.patch(recompile_limit=_WIDTHS):  # type: ignore[attr-defined]
        return _whole()(x, bank.values, bank.scale, rows, weight)


@cache
def _whole() -> Callable[..., tuple[Tensor, Tensor]]:
    return torch.compile(spatial_whole)


def spatial_whole(x: Tensor, values: Tensor, scale: Tensor, rows: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`spatial` over all of ``[R, N, N]``, for ``torch.compile`` only: Inductor fuses it and writes none."""
    channels, n = x.shape[1:]
    node = torch.arange(n, device=x.device)
    first, second = torch.minimum(node[:, None], node), torch.maximum(node[:, None], node)
    off_diagonal = first < second
    pair = torch.where(off_diagonal, first * (2 * n - first - 1) // 2 + second - first - 1, 0)
    known = values[rows[:, None, None], pair] * scale[rows, None, None].to(x.dtype)
    gaps = [x[:, c, :, None] - x[:, c, None, :] for c in range(channels)]
    distance = gaps[0].abs()
    for gap in gaps[1:]:
        distance = distance + gap.abs()
    error = torch.where(off_diagonal, distance / channels - known, 0.0)
    slope = error * (weight * (2.0 / channels))[:, None, None]
    grad = torch.stack([(slope * gap.sign()).sum(dim=2) for gap in gaps], dim=1)
    # Every pair stands twice in the matrix.
    return (error * error).sum(dim=2).sum(dim=1) * (0.5 * weight), grad


def temporal(x: Tensor, teacher: CorrelationRows, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 8 and its gradient: ``x [B, T, C, N], weight [T, lags] -> loss, gradient [B, T, C, N]``."""
    steps, channels = x.shape[1:3]
    loss, grad = x.new_zeros(()), torch.zeros_like(x)
    for lag in range(1, weight.shape[1] + 1):
        rows = teacher.rows[:, :-lag]
        known = teacher.bank.values[rows, lag - 1] * teacher.bank.scale[rows, None].to(x.dtype)
        d = x[:, :-lag] - x[:, lag:]
        error = d.abs().mean(dim=2) - known
        share = weight[: steps - lag, lag - 1, None]
        loss = loss + (error * error * share).sum()
        slope = (error * share * (2.0 / channels))[:, :, None] * d.sign()
        grad[:, :-lag] += slope
        grad[:, lag:] -= slope
    return loss, grad
