"""Several teachers as one: a forecast is the mean of theirs, and so is what a bank holds of them.

The mean of networks that differ by their seeds forecasts better than each, and is a smoother target (Allen-Zhu & Li
2023, "Towards understanding ensemble, knowledge distillation and self-distillation in deep learning").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdsearch.distillation.bank import Array, TeacherBank
from kdsearch.distillation.packed import PackedCorrelation
from kdsearch.models.stgcn import STGCN

__all__ = ["BANKS_AT_ONCE", "MeanForecaster", "averaged"]

# Of the size of one, in memory while banks are averaged: the mean so far, the next bank, their mean.
BANKS_AT_ONCE = 3

# Rows that are unpacked at once.
_ROWS = 512


class MeanForecaster:
    """Forecasts with the mean of several networks' roll-outs.

    Args:
        models: trained, in evaluation mode.
    """

    def __init__(self, models: Sequence[STGCN]) -> None:
        self._models = models

    def roll_out(self, x: Tensor, steps: int, start: Tensor | None = None) -> tuple[Tensor, None]:
        """Forecasts ``[B, steps, N]`` from ``x [B, n_his, N]``; each network is fed its own."""
        return torch.stack([model.roll_out(x, steps, start)[0] for model in self._models]).mean(dim=0), None


def averaged(banks: Iterable[TeacherBank]) -> TeacherBank:
    """The mean of banks of like teachers: forecasts, roll-outs and correlations.

    A running mean, so that banks that are made as they are asked for need not all be held: :data:`BANKS_AT_ONCE`.

    Args:
        banks: at least one, of networks of one architecture on the same days.

    Raises:
        ValueError: they hold hidden features, whose channels mean something else in every network, or sampled pairs
            that differ.
    """
    mean: TeacherBank | None = None
    for count, bank in enumerate(banks, start=1):
        mean = bank if mean is None else _moved(mean, bank, 1 / count)
    if mean is None:
        raise ValueError("no bank to average")
    return mean


def _moved(mean: TeacherBank, bank: TeacherBank, weight: float) -> TeacherBank:
    """The mean so far, moved towards one more bank."""
    if any(f is not None for b in (mean, bank) for f in (*b.temporal, *b.spatial)):
        raise ValueError("hidden features of several teachers have no mean: their channels differ in meaning")
    if any(not np.array_equal(a, b) for a, b in zip(mean.spatial_order, bank.spatial_order, strict=True)):
        raise ValueError("the banks sampled different pairs")

    def packed(name: str) -> list[tuple[Array, Array]]:
        layers = zip(getattr(mean, name), getattr(bank, name), strict=True)
        return [_moved_packed(ours, theirs, weight) for ours, theirs in layers]

    rolled = mean.rollout is not None and bank.rollout is not None
    return replace(
        mean,
        prediction=_moved_array(mean.prediction, bank.prediction, weight),
        temporal_correlation=packed("temporal_correlation"),
        spatial_correlation=packed("spatial_correlation"),
        rollout=_moved_array(mean.rollout, bank.rollout, weight) if rolled else None,
    )


def _moved_array(mean: Any, array: Any, weight: float) -> Array:
    found = np.empty_like(mean)
    for row in range(len(mean)):  # a day at a time: single precision may be twice as large
        ours = mean[row].astype(np.float32)
        found[row] = ours + np.float32(weight) * (array[row].astype(np.float32) - ours)
    return found


def _moved_packed(mean: tuple[Array, Array], layer: tuple[Array, Array], weight: float) -> tuple[Array, Array]:
    """A few rows at a time: unpacked, a layer is twice as large."""
    values, scale = np.empty_like(mean[0]), np.empty_like(mean[1])
    ours, theirs = PackedCorrelation.from_arrays(*mean), PackedCorrelation.from_arrays(*layer)
    for begin in range(0, len(values), _ROWS):
        part = slice(begin, begin + _ROWS)
        a, b = (PackedCorrelation(p.values[part], p.scale[part]).decode() for p in (ours, theirs))
        values[part], scale[part] = PackedCorrelation.encode(torch.lerp(a, b, weight)).arrays()
    return values, scale
