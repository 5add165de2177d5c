"""Sampled node pairs: an unbiased estimate of L_SCD (Eqs. 9, 10) for graphs whose pairs do not fit into memory.

All ``N(N-1)/2`` pairs of 1026 sensors are 0.5 million at each time step, 20 GB for 34 days. Here every row of a bank
(one time step of one layer) draws a random order of the nodes, sets them on a ring, and keeps each node's pairs with
the ``reach`` nodes that follow it. As the order is uniform, every pair is as likely as any other to be kept, so the
mean over the kept pairs has the full mean as its expectation, and its gradient the full gradient. Rows draw
independently: over the steps of a batch and of a day all pairs get their turn.

The ring also makes the estimate steadier than pairs drawn one by one would. Every node is in exactly ``2 * reach`` of
the pairs, so a node whose correlations are all too large, the bulk of what makes pairs differ, is never met more or
less often than others. And no index of pairs is stored or followed: see :mod:`kdsearch.distillation._sampled_passes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdsearch.distillation import _kernels, _sampled_passes
from kdsearch.distillation.packed import PackedCorrelation, share

__all__ = [
    "SampledCorrelation",
    "SampledRows",
    "Sampling",
    "draw_orders",
    "n_sampled_pairs",
    "sampled_distances",
    "sampled_pass",
]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Sampling:
    """How pairs are drawn.

    Attributes:
        reach: each node is paired with so many that follow it on the ring; at most ``N // 2``, which is all pairs.
        seed: of the orders.
    """

    reach: int
    seed: int = 0


@dataclass(frozen=True, eq=False)
class SampledCorrelation:
    """Correlations of sampled pairs of one layer, in the fixed point of :class:`PackedCorrelation`.

    Attributes:
        packed: ``values [R, reach, N]``: place ``i`` of the ring with place ``i + 1 + d`` stands at ``[r, d, i]``.
            With ``2 * reach = N`` the last ``N / 2`` of each row stand there twice and are counted once.
        order: the node at each place, int32 ``[R, N]``, a permutation in each row.
    """

    packed: PackedCorrelation
    order: Tensor

    def __post_init__(self) -> None:
        values, order = self.packed.values, self.order
        if values.dim() != 3 or order.shape != (len(values), values.shape[2]):
            raise ValueError(f"correlations {list(values.shape)} of sampled pairs and orders {list(order.shape)}")
        n_sampled_pairs(values.shape[2], values.shape[1])
        low, high = order.aminmax()  # once, as the kernel reads memory without asking
        if not 0 <= int(low) <= int(high) < values.shape[2]:
            raise IndexError(f"nodes {int(low)}..{int(high)} of a graph that has {values.shape[2]}")

    @classmethod
    def encode(cls, features: Tensor, order: Tensor, reach: int) -> SampledCorrelation:
        """Correlations of ``features [R, N, C]`` for the orders ``[R, N]``."""
        return cls(PackedCorrelation.encode(sampled_distances(features, order, reach)), order)

    @classmethod
    def from_arrays(cls, values: Array, scale: Array, order: Array) -> SampledCorrelation:
        """Share memory with NumPy arrays, also read-only ones."""
        return cls(PackedCorrelation.from_arrays(values, scale), share(order))

    def to(self, device: torch.device | str) -> SampledCorrelation:
        """The same on another device."""
        return SampledCorrelation(self.packed.to(device), self.order.to(device))

    @property
    def reach(self) -> int:
        """How far on the ring a node's pairs go."""
        return self.packed.values.shape[1]

    @property
    def n_pairs(self) -> int:
        """Different pairs of one row."""
        return n_sampled_pairs(self.order.shape[1], self.reach)


@dataclass(frozen=True, eq=False)
class SampledRows:
    """What a minibatch reads of one layer's sampled bank, without copying it.

    Attributes:
        bank: of the layer.
        rows: int64 ``[B, T_l]``, the bank's row of each time step of the student's feature.
    """

    bank: SampledCorrelation
    rows: Tensor


def n_sampled_pairs(n: int, reach: int) -> int:
    """Different pairs of ``n`` nodes on a ring that are ``1..reach`` places apart, ``1 <= reach <= n // 2``."""
    if not 1 <= reach <= n // 2:
        raise ValueError(f"{n} nodes have pairs 1 to {n // 2} places apart on a ring, not {reach}")
    return n * reach - (n // 2 if 2 * reach == n else 0)


def draw_orders(rows: int, n: int, seed: Sequence[int]) -> Array:
    """Uniform random orders of ``n`` nodes, int32 ``[rows, n]``; the same seed gives the same orders everywhere."""
    nodes = np.tile(np.arange(n, dtype=np.int32), (rows, 1))
    return np.random.default_rng(list(seed)).permuted(nodes, axis=1)


def sampled_distances(features: Tensor, order: Tensor, reach: int) -> Tensor:
    """Eq. 9 for sampled pairs: ``features [R, N, C]``, ``order [R, N]`` -> ``[R, reach, N]``."""
    n_sampled_pairs(features.shape[1], reach)
    x = features.detach().transpose(1, 2).contiguous()
    if order.shape != (len(x), x.shape[2]):
        raise ValueError(f"orders {list(order.shape)} do not match features {list(features.shape)}")
    if not _kernels.usable(x):
        return _sampled_passes.distances(x, order, reach)
    out = x.new_empty(len(x), reach, x.shape[2])
    _kernels.each_row(_sampled_passes.distances_kernel, len(x), x.numpy(), order.contiguous().numpy(), out.numpy())
    return out


def sampled_pass(x: Tensor, bank: SampledCorrelation, rows: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sum over the sampled pairs of each row and its gradient.

    Args:
        x: student features ``[R, C, N]``.
        bank: of the teacher.
        rows: its row for each row of ``x``, ``[R]``.
        weight: factor of each row, ``[R]``.

    Returns:
        Sums ``[R]`` and gradient ``[R, C, N]``.

    Raises:
        ValueError: the bank is of another number of nodes.
        IndexError: a row that the bank does not have.
    """
    packed = bank.packed
    if bank.order.shape[1] != x.shape[2]:
        raise ValueError(f"the bank's rows have width {bank.order.shape[1]}, the student needs width {x.shape[2]}")
    if not _kernels.usable(x):
        return _sampled_passes.spatial(x, packed.values, bank.order, rows, packed.scale, weight)
    low, high = rows.aminmax()  # the kernel reads memory without asking
    if not 0 <= int(low) <= int(high) < len(packed.values):
        raise IndexError(f"rows {int(low)}..{int(high)} of a bank that has {len(packed.values)}")
    x = x.contiguous()
    sums, grad = torch.empty(len(x), dtype=torch.float64), torch.empty_like(x)
    tensors = (x, packed.values, bank.order, rows.contiguous(), packed.scale, weight, sums, grad)
    _kernels.each_row(_sampled_passes.spatial_kernel, len(x), *(t.numpy() for t in tensors))
    return sums, grad
