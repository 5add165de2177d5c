"""The teacher bank: what losses read of the teacher, computed once and shared by every trial of a machine.

STGCN is time-equivariant, so one pass over a whole day gives the features and forecasts of each of its windows
(:class:`kdsearch.models.stgcn.STGCN`). The bank keeps, per absolute time step of the training days, only what the
loss needs: forecasts, correlations of node pairs (Eq. 9) and of step pairs (Eq. 7) in 16-bit fixed point, or features
in half precision. Its arrays are NumPy, so Ray's object store hands them to all trials without a copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdsearch.distillation.correlation import spatial_pairs, temporal_pairs
from kdsearch.distillation.losses import Needs
from kdsearch.distillation.packed import CorrelationRows, PackedCorrelation, share
from kdsearch.distillation.teacher_batch import TeacherBatch
from kdsearch.models.stgcn import STGCN, Features

__all__ = ["BankReader", "LiveTeacher", "TeacherBank", "bank_bytes"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class TeacherBank:
    """Everything that one loss reads of the teacher on the training days.

    ``S_l`` is the number of time steps a layer's output has for a whole day, ``T_l`` for one window; a window that
    starts at step ``s`` reads steps ``s .. s + T_l - 1``.

    Attributes:
        prediction: z-scored forecasts float32 ``[D, S - n_his + 1, N]``, by the window's first step.
        temporal_correlation, spatial_correlation: by layer, int16 values and float32 scales of ``D * S_l`` rows.
        temporal, spatial: by layer, float16 features ``[D, S_l, N, C_l]``; None where no loss reads them.
        window_steps: ``T_l`` of the temporal and of the spatial layers.
        n_his: steps of a window.
    """

    prediction: Array
    n_his: int
    window_steps: tuple[tuple[int, ...], tuple[int, ...]]
    temporal_correlation: list[tuple[Array, Array]] = field(default_factory=list)
    spatial_correlation: list[tuple[Array, Array]] = field(default_factory=list)
    temporal: list[Array | None] = field(default_factory=list)
    spatial: list[Array | None] = field(default_factory=list)

    @classmethod
    @torch.no_grad()
    def build(cls, teacher: STGCN, days: Tensor, needs: Needs) -> TeacherBank:
        """Run the teacher once over ``days [D, S, N]`` (z-scored) and keep what ``needs`` names."""
        steps = _window_steps(teacher)
        rows = []
        for day in days:
            f = teacher.features(day[None, :, :, None])
            rows.append(
                (
                    f.prediction,
                    [
                        PackedCorrelation.encode(temporal_pairs(x, t - 1)[0])
                        for x, t in zip(f.temporal, steps[0], strict=True)
                    ]
                    if needs.temporal_correlation
                    else [],
                    [PackedCorrelation.encode(spatial_pairs(x)[0]) for x in f.spatial]
                    if needs.spatial_correlation
                    else [],
                    [x.half() if i in needs.temporal_features else None for i, x in enumerate(f.temporal)],
                    [x.half() if i in needs.spatial_features else None for i, x in enumerate(f.spatial)],
                )
            )
        prediction, temporal, spatial, temporal_f, spatial_f = zip(*rows, strict=True)

        def packed(layers: Any) -> list[tuple[Array, Array]]:
            return [PackedCorrelation.concatenate(list(days)).arrays() for days in zip(*layers, strict=True)]

        def features(layers: Any) -> list[Array | None]:
            return [None if days[0] is None else torch.cat(days).cpu().numpy() for days in zip(*layers, strict=True)]

        return cls(
            torch.cat(prediction).cpu().numpy(),
            teacher.n_his,
            steps,
            packed(temporal),
            packed(spatial),
            features(temporal_f),
            features(spatial_f),
        )

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays."""
        packed = [a for pair in (*self.temporal_correlation, *self.spatial_correlation) for a in pair]
        kept = [a for a in (*self.temporal, *self.spatial) if a is not None]
        return sum(a.nbytes for a in (self.prediction, *packed, *kept))


class BankReader:
    """A bank on a device, as the training loop's ``teacher``: which windows -> :class:`TeacherBatch`."""

    def __init__(self, bank: TeacherBank, device: str | torch.device = "cpu") -> None:
        self._n_his = bank.n_his
        self._prediction = share(bank.prediction).to(device)
        temporal_steps, spatial_steps = bank.window_steps
        self._temporal_correlation = _packed_layers(bank.temporal_correlation, temporal_steps, device)
        self._spatial_correlation = _packed_layers(bank.spatial_correlation, spatial_steps, device)
        self._temporal = [None if a is None else share(a).to(device) for a in bank.temporal]
        self._spatial = [None if a is None else share(a).to(device) for a in bank.spatial]
        self._temporal_steps, self._spatial_steps = temporal_steps, spatial_steps

    def __call__(self, day: Tensor, start: Tensor, x: Tensor) -> TeacherBatch:
        """What the loss reads for runs of consecutive windows.

        Args:
            day: of each run, ``[B]``.
            start: its first step, ``[B]``.
            x: its input ``[B, n_his + run - 1, N]``; only the length is read.
        """
        run = x.shape[1] - self._n_his + 1
        prediction = self._take(self._prediction, 1, day, start, run)

        def rows(layers: list[tuple[PackedCorrelation, int]]) -> list[CorrelationRows] | None:
            per_day = self._prediction.shape[1] - 1
            return [CorrelationRows(p, _rows(day, start, per_day + t, t + run - 1)) for p, t in layers] or None

        def features(layers: list[Tensor | None], steps: tuple[int, ...]) -> list[Tensor | None]:
            return [
                None if f is None else self._take(f, t, day, start, run).float()
                for f, t in zip(layers, steps, strict=True)
            ]

        return TeacherBatch(
            prediction if run > 1 else prediction[:, 0],
            rows(self._temporal_correlation),
            rows(self._spatial_correlation),
            features(self._temporal, self._temporal_steps),
            features(self._spatial, self._spatial_steps),
        )

    @staticmethod
    def _take(source: Tensor, window_steps: int, day: Tensor, start: Tensor, run: int) -> Tensor:
        """``source [D, S_l, ...] -> [B, window_steps + run - 1, ...]``."""
        return source.flatten(0, 1)[_rows(day, start, source.shape[1], window_steps + run - 1)]


class LiveTeacher:
    """The teacher itself, run on every minibatch: for data whose bank would not fit."""

    def __init__(self, teacher: STGCN, device: str | torch.device = "cpu") -> None:
        self._teacher = teacher.to(device).eval()

    @torch.no_grad()
    def __call__(self, day: Tensor, start: Tensor, x: Tensor) -> Features:
        """The teacher's features of the input ``x [B, n_his + run - 1, N]``."""
        return self._teacher.features(x.unsqueeze(-1))


def bank_bytes(teacher: STGCN, n_days: int, steps_per_day: int, needs: Needs) -> int:
    """Size of the bank that :meth:`TeacherBank.build` would make, in bytes, without making it."""
    n = teacher.n_nodes
    temporal_steps, spatial_steps = _window_steps(teacher)
    margin = steps_per_day - teacher.n_his
    widths = [(c_mid, c_out) for _, c_mid, c_out in teacher.channels]
    per_day = 4 * n * (margin + 1)
    if needs.temporal_correlation:
        per_day += sum((margin + t) * (2 * (t - 1) * n + 4) for t in temporal_steps)
    if needs.spatial_correlation:
        per_day += sum((margin + t) * (n * (n - 1) + 4) for t in spatial_steps)
    temporal_widths = [c for pair in widths for c in pair]
    per_day += sum((margin + temporal_steps[i]) * 2 * n * temporal_widths[i] for i in needs.temporal_features)
    per_day += sum((margin + spatial_steps[i]) * 2 * n * widths[i][0] for i in needs.spatial_features)
    return n_days * per_day


def _window_steps(teacher: STGCN) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """``T_l`` of the temporal and the spatial layers: every temporal layer takes ``kt - 1`` steps away."""
    n_blocks, lost = len(teacher.channels), teacher.kt - 1
    temporal = tuple(teacher.n_his - lost * (i + 1) for i in range(2 * n_blocks))
    return temporal, temporal[::2]


def _packed_layers(
    layers: list[tuple[Array, Array]], steps: tuple[int, ...], device: str | torch.device
) -> list[tuple[PackedCorrelation, int]]:
    return [(PackedCorrelation.from_arrays(*a).to(device), t) for a, t in zip(layers, steps, strict=False)]


def _rows(day: Tensor, start: Tensor, steps_per_day: int, length: int) -> Tensor:
    """Rows ``[B, length]`` of a bank that holds ``steps_per_day`` rows a day."""
    return (day * steps_per_day + start)[:, None] + torch.arange(length, device=start.device)
