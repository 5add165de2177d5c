"""Passes over sampled node pairs: a Numba kernel for single precision on the CPU, plain torch for everything else.

Both take the layout of :class:`kdsearch.distillation.sampled.SampledCorrelation`: nodes stand on a ring in the row's
own random order, and each is paired with those ``1..reach`` places further on. In that order the pairs of one distance
on the ring are two shifted copies of the same array, so the innermost loops are contiguous.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["distances", "distances_kernel", "spatial", "spatial_kernel"]

Array = np.ndarray[Any, Any]

# Elements of one temporary of the torch passes: 64 MB in float32.
_CHUNK = 1 << 24


def spatial_kernel(
    x: Array,
    values: Array,
    order: Array,
    rows: Array,
    scale: Array,
    weight: Array,
    sums: Array,
    grad: Array,
    first: int,
    last: int,
) -> None:
    """Eq. 10 and its gradient over sampled pairs for rows ``first..last``.

    Args:
        x: student features ``[R, C, N]``.
        values: teacher correlations ``[K, reach, N]``, int16, in units of ``scale``.
        order: the node at each place of the ring, int32 ``[K, N]``.
        rows: which teacher row belongs to each student row, ``[R]``.
        scale: float32 ``[K]``.
        weight: factor of each row, ``[R]``.
        sums: float64 ``[R]``, written.
        grad: ``[R, C, N]``, written.
        first: first row.
        last: one past the last row.
    """
    n_channels, n = x.shape[1], x.shape[2]
    reach = values.shape[1]
    share = np.float32(1.0 / n_channels)
    zero = np.float32(0.0)
    ring = np.empty((n_channels, n + reach), np.float32)
    ahead = np.empty((n_channels, n), np.float32)
    behind = np.empty((n_channels, n + reach), np.float32)
    error = np.empty(n, np.float32)
    for r in range(first, last):
        place = order[rows[r]]
        for c in range(n_channels):
            for i in range(n):
                ring[c, i] = x[r, c, place[i]]
            for i in range(reach):  # past the end it begins again
                ring[c, n + i] = ring[c, i]
        ahead[:] = zero
        behind[:] = zero
        unit = np.float32(scale[rows[r]])
        slope = np.float32(2.0 * weight[r] / n_channels)
        total = np.float64(0.0)
        for step in range(1, reach + 1):
            pairs = n // 2 if 2 * step == n else n  # half way round, a pair would be met from both ends
            known = values[rows[r], step - 1]
            part = zero
            if n_channels == 2:
                one, two = ring[0], ring[1]
                one_on, two_on = ring[0, step:], ring[1, step:]
                for k in range(pairs):
                    e = (abs(one[k] - one_on[k]) + abs(two[k] - two_on[k])) * share - np.float32(known[k]) * unit
                    part += e * e
                    error[k] = e * slope
            else:
                for k in range(pairs):
                    error[k] = zero
                for c in range(n_channels):
                    here, there = ring[c], ring[c, step:]
                    for k in range(pairs):
                        error[k] += abs(here[k] - there[k])
                for k in range(pairs):
                    e = error[k] * share - np.float32(known[k]) * unit
                    part += e * e
                    error[k] = e * slope
            total += part
            for c in range(n_channels):
                here, there = ring[c], ring[c, step:]
                mine, theirs = ahead[c], behind[c, step:]
                for k in range(pairs):
                    d = here[k] - there[k]
                    v = error[k] if d > zero else (-error[k] if d < zero else zero)
                    mine[k] += v
                    theirs[k] -= v
        for c in range(n_channels):
            for i in range(reach):
                behind[c, i] += behind[c, n + i]
            for i in range(n):
                grad[r, c, place[i]] = ahead[c, i] + behind[c, i]
        sums[r] = total * weight[r]


def distances_kernel(x: Array, order: Array, out: Array, first: int, last: int) -> None:
    """Eq. 9 for sampled pairs of rows ``first..last``: ``x [R, C, N], order [R, N] -> out [R, reach, N]``."""
    n_channels, n = x.shape[1], x.shape[2]
    reach = out.shape[1]
    share = np.float32(1.0 / n_channels)
    ring = np.empty(n + reach, np.float32)
    for r in range(first, last):
        place = order[r]
        out[r] = np.float32(0.0)
        for c in range(n_channels):
            for i in range(n):
                ring[i] = x[r, c, place[i]]
            for i in range(reach):
                ring[n + i] = ring[i]
            for step in range(1, reach + 1):
                there, found = ring[step:], out[r, step - 1]
                for k in range(n):
                    found[k] += abs(ring[k] - there[k])
        for step in range(reach):
            found = out[r, step]
            for k in range(n):
                found[k] *= share


def spatial(
    x: Tensor, values: Tensor, order: Tensor, rows: Tensor, scale: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """:func:`spatial_kernel` on any device and in any precision: weighted sums ``[R]`` and gradient ``[R, C, N]``."""
    _, channels, n = x.shape
    reach = values.shape[1]
    behind = _behind(n, reach, x.device)
    done = []
    for part in torch.arange(len(x), device=x.device).split(_rows_at_once(channels, reach, n)):
        at, share = rows[part], weight[part, None, None]
        place = order[at].long()[:, None].expand(-1, channels, -1)
        gap = _gaps(x[part].gather(2, place), reach)
        error = gap.abs().mean(dim=1) - values[at] * scale[at, None, None].to(x.dtype)
        if 2 * reach == n:
            error[:, -1, n // 2 :] = 0.0
        slope = (error * (share * (2.0 / channels)))[:, None] * gap.sign()
        # A gather, not a scattered sum: the order in which numbers are added stays the same on CUDA.
        pull = slope.sum(dim=2) - slope.flatten(2)[:, :, behind].sum(dim=2)
        grad = torch.empty_like(pull).scatter_(2, place, pull)
        done.append(((error * error * share).sum(dim=(1, 2)), grad))
    sums, grads = (torch.cat(both) for both in zip(*done, strict=True))
    return sums, grads


def distances(x: Tensor, order: Tensor, reach: int) -> Tensor:
    """Eq. 9 for sampled pairs: ``x [R, C, N], order [R, N] -> [R, reach, N]``."""
    rows, channels, n = x.shape
    out = x.new_empty(rows, reach, n)
    for part in torch.arange(rows, device=x.device).split(_rows_at_once(channels, reach, n)):
        place = order[part].long()[:, None].expand(-1, channels, -1)
        out[part] = _gaps(x[part].gather(2, place), reach).abs().mean(dim=1)
    return out


def _rows_at_once(channels: int, reach: int, n: int) -> int:
    return max(1, _CHUNK // (channels * reach * n))


def _gaps(ring: Tensor, reach: int) -> Tensor:
    """Each place minus those ``1..reach`` further on: ``[R, C, N] -> [R, C, reach, N]``."""
    n = ring.shape[2]
    on = (torch.arange(1, reach + 1, device=ring.device)[:, None] + torch.arange(n, device=ring.device)) % n
    return ring[:, :, None] - ring[:, :, on]


def _behind(n: int, reach: int, device: torch.device) -> Tensor:
    """Where in ``[reach, N]``, flattened, the pairs stand whose further end a place is: ``[reach, N]``."""
    step = torch.arange(1, reach + 1, device=device)[:, None]
    return (step - 1) * n + (torch.arange(n, device=device) - step) % n
