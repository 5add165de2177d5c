"""The correlation losses and their gradients in plain torch: any device, any precision.

Used for double precision, on CUDA, and where Numba is not installed. Shapes are those of the Numba kernels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kdsearch.distillation.packed import CorrelationRows, PackedCorrelation

__all__ = ["spatial", "spatial_whole", "temporal"]


def spatial(x: Tensor, bank: PackedCorrelation, rows: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 10 and its gradient: ``x [R, C, N], rows [R], weight [R] -> weighted sums [R], gradient [R, C, N]``."""
    if x.is_cuda and not _broken:
        try:
            return compiled(x, bank, rows, weight)
        except (torch.OutOfMemoryError, torch.AcceleratorError):
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
_BACKEND: Any = "inductor"
_broken: list[bool] = []


def compiled(x: Tensor, bank: PackedCorrelation, rows: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`spatial` in one kernel, compiled once for each of some numbers of channels.

    A pruning passes through most widths on its way down, and each takes seconds to compile. A width between is filled
    with zeros, and the rest scaled, so that the mean over channels stays what it is.
    """
    channels = x.shape[1]
    width = kernel_width(channels)
    if width == channels:
        return _whole()(x, bank.values, bank.scale, rows, weight)
    scale = width / channels
    sums, grad = _whole()(F.pad(x * scale, (0, 0, 0, width - channels)), bank.values, bank.scale, rows, weight)
    return sums, grad[:, :channels] * scale


def kernel_width(channels: int) -> int:
    """The number of channels that a kernel is compiled for: to 8 each, then every fourth, eighth, sixteenth."""
    step = 1 if channels <= 8 else 4 if channels <= 16 else 8 if channels <= 32 else 16
    return -(-channels // step) * step


@cache
def _whole() -> Callable[..., tuple[Tensor, Tensor]]:
    # Past its limit Dynamo would go on without compiling, without a word, and write [R, N, N].
    config: Any = torch.compiler.config
    config.recompile_limit = max(config.recompile_limit, _WIDTHS)
    return torch.compile(spatial_whole, backend=_BACKEND)


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
    first, lag, sides = _step_pairs(x.shape[1], weight.shape[1], x.device, x.dtype)
    rows = teacher.rows[:, first]
    known = teacher.bank.values[rows, lag - 1] * teacher.bank.scale[rows, None].to(x.dtype)
    d = x[:, first] - x[:, first + lag]
    error = d.abs().mean(dim=2) - known
    share = weight[first, lag - 1, None]
    slope = (error * share * (2.0 / x.shape[2]))[:, :, None] * d.sign()
    # All pairs at once, few launches: each slope is added at its first step and taken away at its second.
    grad = (sides @ slope.flatten(2)).view_as(x)
    return (error * error * share).sum(), grad


@lru_cache(maxsize=16)
def _step_pairs(steps: int, lags: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of time steps not more than ``lags`` apart: first ``[P]``, how far the second is ``[P]``, ``[steps, P]``.

    The matrix has 1 at the first step of each pair and -1 at the second.
    """
    first, second = torch.triu_indices(steps, steps, offset=1)
    near = second - first <= lags
    first, second = first[near], second[near]
    sides = torch.zeros(steps, len(first), dtype=dtype)
    sides[first, torch.arange(len(first))] = 1.0
    sides[second, torch.arange(len(first))] = -1.0
    return first.to(device), (second - first).to(device), sides.to(device)
