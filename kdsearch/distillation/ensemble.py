"""Several teachers as one: what a bank holds of them is their mean.

The mean of networks that differ by their seeds forecasts better than each, and is a smoother target (Allen-Zhu & Li
2023, "Towards understanding ensemble, knowledge distillation and self-distillation in deep learning").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kdsearch.distillation.bank import Array, TeacherBank
from kdsearch.distillation.packed import PackedCorrelation

__all__ = ["averaged"]

# Rows that are unpacked at once.
_ROWS = 512


def averaged(banks: Sequence[TeacherBank]) -> TeacherBank:
    """The mean of banks of like teachers: forecasts, roll-outs and correlations.

    Args:
        banks: of networks of one architecture on the same days.

    Raises:
        ValueError: they hold hidden features, whose channels mean something else in every network, or sampled pairs
            that differ.
    """
    first = banks[0]
    if len(banks) == 1:
        return first
    if any(f is not None for bank in banks for f in (*bank.temporal, *bank.spatial)):
        raise ValueError("hidden features of several teachers have no mean: their channels differ in meaning")
    orders = [bank.spatial_order for bank in banks]
    if any(not np.array_equal(a, b) for other in orders[1:] for a, b in zip(orders[0], other, strict=True)):
        raise ValueError("the banks sampled different pairs")
    rollouts = [bank.rollout for bank in banks if bank.rollout is not None]
    return replace(
        first,
        prediction=_mean([bank.prediction for bank in banks]),
        temporal_correlation=[
            _mean_packed(layer) for layer in zip(*(b.temporal_correlation for b in banks), strict=True)
        ],
        spatial_correlation=[
            _mean_packed(layer) for layer in zip(*(b.spatial_correlation for b in banks), strict=True)
        ],
        rollout=_mean(rollouts) if len(rollouts) == len(banks) else None,
    )


def _mean(arrays: Sequence[Array]) -> Array:
    total = np.zeros(arrays[0].shape, np.float32)
    for array in arrays:
        total += array
    return (total / len(arrays)).astype(arrays[0].dtype)


def _mean_packed(layers: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """A few rows at a time: unpacked, a layer is twice as large."""
    values, scale = np.empty_like(layers[0][0]), np.empty_like(layers[0][1])
    packed = [PackedCorrelation.from_arrays(*layer) for layer in layers]
    for begin in range(0, len(values), _ROWS):
        part = slice(begin, begin + _ROWS)
        decoded = [PackedCorrelation(p.values[part], p.scale[part]).decode() for p in packed]
        mean = PackedCorrelation.encode(sum(decoded[1:], decoded[0]) / len(decoded))
        values[part], scale[part] = mean.arrays()
    return values, scale
