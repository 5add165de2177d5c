"""The teacher bank: what losses read of the teacher, computed once and shared by every trial of a machine.

STGCN is time-equivariant, so one pass over a whole day gives the features and forecasts of each of its windows
(:class:`kdsearch.models.stgcn.STGCN`). The bank keeps, per absolute time step of the training days, only what the
loss needs: forecasts, correlations of node pairs (Eq. 9) and of step pairs (Eq. 7) in 16-bit fixed point, or features
in half precision. Its arrays are NumPy, so Ray's object store hands them to all trials without a copy. Of a large graph
it keeps sampled node pairs (:mod:`kdsearch.distillation.sampled`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdsearch.distillation.correlation import spatial_pairs, temporal_pairs
from kdsearch.distillation.losses import Needs
from kdsearch.distillation.packed import CorrelationRows, PackedCorrelation, share
from kdsearch.distillation.sampled import SampledCorrelation, SampledRows, Sampling, draw_orders, sampled_distances
from kdsearch.distillation.teacher_batch import TeacherBatch
from kdsearch.models.stgcn import STGCN, Features

__all__ = ["BankReader", "LiveTeacher", "TeacherBank", "bank_bytes"]

Array = np.ndarray[Any, Any]

# Time steps times nodes that the teacher passes at once: its widest tensors then take some hundred megabytes.
_AT_ONCE = 150_000
# Numbers of one temporary while correlations are packed: 64 MB in float32.
_CHUNK = 1 << 24


@dataclass(frozen=True, eq=False)
class TeacherBank:
    """Everything that one loss reads of the teacher on the training days.

    ``S_l`` is the number of time steps a layer's output has for a whole day, ``T_l`` for one window; a window that
    starts at step ``s`` reads steps ``s .. s + T_l - 1``.

    Attributes:
        prediction: z-scored forecasts float32 ``[D, S - n_his + 1, N]``, by the window's first step.
        temporal_correlation, spatial_correlation: by layer, int16 values and float32 scales of ``D * S_l`` rows.
        spatial_order: by layer, int32 ``[D * S_l, N]``, the order of :class:`SampledCorrelation`; empty if the bank
            holds all pairs.
        temporal, spatial: by layer, float16 features ``[D, S_l, N, C_l]``; None where no loss reads them.
        window_steps: ``T_l`` of the temporal and of the spatial layers.
        n_his: steps of a window.
        rollout: float16 ``[D, S - n_his + 1, steps, N]``, forecasts fed back; None where one step is trained through.
    """

    prediction: Array
    n_his: int
    window_steps: tuple[tuple[int, ...], tuple[int, ...]]
    temporal_correlation: list[tuple[Array, Array]] = field(default_factory=list)
    spatial_correlation: list[tuple[Array, Array]] = field(default_factory=list)
    temporal: list[Array | None] = field(default_factory=list)
    spatial: list[Array | None] = field(default_factory=list)
    spatial_order: list[Array] = field(default_factory=list)
    rollout: Array | None = None

    @classmethod
    @torch.no_grad()
    def build(cls, teacher: STGCN, days: Tensor, needs: Needs, sampling: Sampling | None = None) -> TeacherBank:
        """Run the teacher once over ``days [D, S, N]`` (z-scored) and keep what ``needs`` names.

        Memory beyond the bank's own does not grow with the days.

        Args:
            teacher: trained, in evaluation mode.
            days: of the training part.
            needs: of the loss.
            sampling: which node pairs to keep; None keeps all.
        """
        n_days, steps, n = days.shape
        temporal_steps, spatial_steps = _window_steps(teacher)
        length = [steps - teacher.n_his + t for t in spatial_steps]
        if not needs.spatial_correlation:
            sampling = None
        orders = [] if sampling is None else _orders(sampling, [n_days * s for s in length], n)

        def arrays(day: int, first: int, f: Features) -> Iterator[tuple[tuple[str, int, int], Tensor]]:
            """What is kept of a day's part that begins at step ``first``, under (field, layer, which of a pair)."""
            yield ("prediction", 0, 0), f.prediction
            if needs.temporal_correlation:
                for i, (x, t) in enumerate(zip(f.temporal, temporal_steps, strict=True)):
                    # Steps need the lags that follow them: all of a part at once.
                    packed = PackedCorrelation.encode(temporal_pairs(x, t - 1)[0])
                    yield ("temporal_correlation", i, 0), packed.values[None]
                    yield ("temporal_correlation", i, 1), packed.scale[None]
            if needs.spatial_correlation:
                for i, x in enumerate(f.spatial):
                    row = day * length[i] + first
                    packed = _packed(x[0], sampling, orders[i][row : row + x.shape[1]] if orders else None)
                    yield ("spatial_correlation", i, 0), packed.values[None]
                    yield ("spatial_correlation", i, 1), packed.scale[None]
            for i in needs.temporal_features:
                yield ("temporal", i, 0), f.temporal[i].half()
            for i in needs.spatial_features:
                yield ("spatial", i, 0), f.spatial[i].half()

        kept: dict[tuple[str, int, int], Array] = {}
        for day in range(n_days):
            for first, last, f in _passes(teacher, days[day]):
                for key, found in arrays(day, first, f):
                    # Rows past the part's own belong to windows of the next one, which computes them again.
                    own = found[0] if last == steps else found[0, : last - first - teacher.n_his + 1]
                    if key not in kept:
                        whole = found.shape[1] + (steps - last) + first
                        kept[key] = np.empty((n_days, whole, *found.shape[2:]), _numpy_type(found))
                    kept[key][day, first : first + len(own)] = own.cpu().numpy()
        return cls(
            kept["prediction", 0, 0],
            teacher.n_his,
            (temporal_steps, spatial_steps),
            _layers(kept, "temporal_correlation"),
            _layers(kept, "spatial_correlation"),
            [kept.get(("temporal", i, 0)) for i in range(len(temporal_steps))],
            [kept.get(("spatial", i, 0)) for i in range(len(spatial_steps))],
            orders,
        )

    @torch.no_grad()
    def with_rollout(self, teacher: STGCN, days: Tensor, steps: int) -> TeacherBank:
        """The bank with the teacher's forecasts of ``steps`` steps from every window of ``days [D, S, N]``."""
        n_days, length, n = days.shape
        starts = length - self.n_his + 1
        kept = np.empty((n_days, starts, steps, n), np.float16)
        at_once = max(1, _AT_ONCE // (n * self.n_his))
        for day in range(n_days):
            windows = days[day].unfold(0, self.n_his, 1).transpose(1, 2)  # [starts, n_his, N]
            for first in range(0, starts, at_once):
                part = windows[first : first + at_once]
                begins = torch.arange(first, first + len(part), device=days.device)
                forecasts, _ = teacher.roll_out(part, steps, begins)
                kept[day, first : first + at_once] = forecasts.half().cpu().numpy()
        return replace(self, rollout=kept)

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays."""
        packed = [a for pair in (*self.temporal_correlation, *self.spatial_correlation) for a in pair]
        kept = [a for a in (*self.temporal, *self.spatial, *self.spatial_order) if a is not None]
        rolled = [] if self.rollout is None else [self.rollout]
        return sum(a.nbytes for a in (self.prediction, *packed, *kept, *rolled))


class BankReader:
    """A bank on a device, as the training loop's ``teacher``: which windows -> :class:`TeacherBatch`."""

    def __init__(self, bank: TeacherBank, device: str | torch.device = "cpu") -> None:
        self._n_his = bank.n_his
        self._prediction = share(bank.prediction).to(device)
        temporal_steps, spatial_steps = bank.window_steps
        self._temporal_correlation = _packed_layers(bank.temporal_correlation, temporal_steps, device)
        self._spatial_correlation = _packed_layers(bank.spatial_correlation, spatial_steps, device)
        self._sampled = [
            (SampledCorrelation(packed, share(order).to(device)), t)
            for (packed, t), order in zip(self._spatial_correlation, bank.spatial_order, strict=False)
        ]
        self._temporal = [None if a is None else share(a).to(device) for a in bank.temporal]
        self._spatial = [None if a is None else share(a).to(device) for a in bank.spatial]
        self._temporal_steps, self._spatial_steps = temporal_steps, spatial_steps
        self._rollout = None if bank.rollout is None else share(bank.rollout).to(device)

    def __call__(self, day: Tensor, start: Tensor, x: Tensor) -> TeacherBatch:
        """What the loss reads for runs of consecutive windows.

        Args:
            day: of each run, ``[B]``.
            start: its first step, ``[B]``.
            x: its input ``[B, n_his + run - 1, N]``; only the length is read.
        """
        run = x.shape[1] - self._n_his + 1
        prediction = self._take(self._prediction, 1, day, start, run)

        def rows(layers: list[tuple[Any, int]], kind: Callable[..., Any] = CorrelationRows) -> list[Any] | None:
            per_day = self._prediction.shape[1] - 1
            return [kind(p, _rows(day, start, per_day + t, t + run - 1)) for p, t in layers] or None

        def features(layers: list[Tensor | None], steps: tuple[int, ...]) -> list[Tensor | None]:
            return [
                None if f is None else self._take(f, t, day, start, run).float()
                for f, t in zip(layers, steps, strict=True)
            ]

        return TeacherBatch(
            prediction if run > 1 else prediction[:, 0],
            rows(self._temporal_correlation),
            rows(self._sampled, SampledRows) or rows(self._spatial_correlation),
            features(self._temporal, self._temporal_steps),
            features(self._spatial, self._spatial_steps),
            None if self._rollout is None else self._take(self._rollout, 1, day, start, 1)[:, 0].float(),
        )

    @staticmethod
    def _take(source: Tensor, window_steps: int, day: Tensor, start: Tensor, run: int) -> Tensor:
        """``source [D, S_l, ...] -> [B, window_steps + run - 1, ...]``."""
        return source.flatten(0, 1)[_rows(day, start, source.shape[1], window_steps + run - 1)]


class LiveTeacher:
    """The teacher itself, run on every minibatch: for data whose bank would not fit.

    Args:
        teacher: trained.
        device: where it runs.
        steps: of its roll-out, if a student is trained through one.
    """

    def __init__(self, teacher: STGCN, device: str | torch.device = "cpu", steps: int = 1) -> None:
        self._teacher, self._steps = teacher.to(device).eval(), steps

    @torch.no_grad()
    def __call__(self, day: Tensor, start: Tensor, x: Tensor) -> Features:
        """The teacher's features of the input ``x [B, n_his + run - 1, N]``, a part of the batch at a time."""
        at_once = max(1, _AT_ONCE // (x.shape[1] * x.shape[2]))
        parts = [self._features(*part) for part in zip(x.split(at_once), start.split(at_once), strict=True)]
        if len(parts) == 1:
            return parts[0]
        return Features(
            torch.cat([f.prediction for f in parts]),
            [torch.cat(layer) for layer in zip(*(f.temporal for f in parts), strict=True)],
            [torch.cat(layer) for layer in zip(*(f.spatial for f in parts), strict=True)],
            torch.cat([f.rollout for f in parts if f.rollout is not None]) if self._steps > 1 else None,
        )

    def _features(self, x: Tensor, start: Tensor) -> Features:
        if self._steps == 1:
            return self._teacher.features(x.unsqueeze(-1), start)
        forecasts, found = self._teacher.roll_out(x, self._steps, start)
        found.rollout = forecasts
        return found


def bank_bytes(
    teacher: STGCN,
    n_days: int,
    steps_per_day: int,
    needs: Needs,
    sampling: Sampling | None = None,
    rollout_steps: int = 1,
) -> int:
    """Size of the bank that :meth:`TeacherBank.build` would make, in bytes, without making it."""
    n = teacher.n_nodes
    temporal_steps, spatial_steps = _window_steps(teacher)
    margin = steps_per_day - teacher.n_his
    widths = [(c_mid, c_out) for _, c_mid, c_out in teacher.channels]
    per_day = (4 + (2 * rollout_steps if rollout_steps > 1 else 0)) * n * (margin + 1)
    if needs.temporal_correlation:
        per_day += sum((margin + t) * (2 * (t - 1) * n + 4) for t in temporal_steps)
    if needs.spatial_correlation:
        row = n * (n - 1) + 4 if sampling is None else 2 * sampling.reach * n + 4 + 4 * n
        per_day += sum((margin + t) * row for t in spatial_steps)
    temporal_widths = [c for pair in widths for c in pair]
    per_day += sum((margin + temporal_steps[i]) * 2 * n * temporal_widths[i] for i in needs.temporal_features)
    per_day += sum((margin + spatial_steps[i]) * 2 * n * widths[i][0] for i in needs.spatial_features)
    return n_days * per_day


def _window_steps(teacher: STGCN) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """``T_l`` of the temporal and the spatial layers: every temporal layer takes ``kt - 1`` steps away."""
    n_blocks, lost = len(teacher.channels), teacher.kt - 1
    temporal = tuple(teacher.n_his - lost * (i + 1) for i in range(2 * n_blocks))
    return temporal, temporal[::2]


def _passes(teacher: STGCN, day: Tensor) -> Iterator[tuple[int, int, Features]]:
    """The teacher's pass over ``day [S, N]`` in as many parts as memory asks for: first and last step, features.

    A part ends ``n_his - 1`` steps past the last window it begins, so all parts together hold what one pass would.
    """
    steps, n = day.shape
    own = max(_AT_ONCE // n - (teacher.n_his - 1), teacher.n_his)
    for first in range(0, steps - teacher.n_his + 1, own):
        last = min(first + own + teacher.n_his - 1, steps)
        f = teacher.features(day[None, first:last, :, None], torch.tensor([first], device=day.device))
        if last - first == teacher.n_his:  # a single window has no time axis
            f.prediction = f.prediction[:, None]
        yield first, last, f


def _orders(sampling: Sampling, rows: list[int], n: int) -> list[Array]:
    """Orders for every row of every layer; no two layers share one."""
    return [draw_orders(count, n, (sampling.seed, layer)) for layer, count in enumerate(rows)]


def _packed(x: Tensor, sampling: Sampling | None, order: Array | None) -> PackedCorrelation:
    """Pairs of ``x [R, N, C]``, all or sampled, packed a few rows at a time: each row has a scale of its own."""
    n = x.shape[1]
    at_once = max(1, _CHUNK // (n * (n - 1) // 2 if sampling is None else n * sampling.reach))
    parts = []
    for first in range(0, len(x), at_once):
        part = x[first : first + at_once]
        if sampling is None or order is None:
            pairs = spatial_pairs(part)
        else:
            pairs = sampled_distances(
                part, torch.from_numpy(order[first : first + at_once]).to(x.device), sampling.reach
            )
        parts.append(PackedCorrelation.encode(pairs))
    return PackedCorrelation.concatenate(parts)


def _numpy_type(x: Tensor) -> Any:
    return x[:0].cpu().numpy().dtype


def _layers(kept: dict[tuple[str, int, int], Array], name: str) -> list[tuple[Array, Array]]:
    """Values and scales by layer, days and steps as rows."""
    n_layers = sum(key[0] == name for key in kept) // 2
    return [
        (values.reshape(-1, *values.shape[2:]), scale.reshape(-1))
        for values, scale in ((kept[name, i, 0], kept[name, i, 1]) for i in range(n_layers))
    ]


def _packed_layers(
    layers: list[tuple[Array, Array]], steps: tuple[int, ...], device: str | torch.device
) -> list[tuple[PackedCorrelation, int]]:
    return [(PackedCorrelation.from_arrays(*a).to(device), t) for a, t in zip(layers, steps, strict=False)]


def _rows(day: Tensor, start: Tensor, steps_per_day: int, length: int) -> Tensor:
    """Rows ``[B, length]`` of a bank that holds ``steps_per_day`` rows a day."""
    return (day * steps_per_day + start)[:, None] + torch.arange(length, device=start.device)
