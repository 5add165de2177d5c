"""Correlation distillation in space and time: Eqs. 7-10 of the paper.

``||.||_2`` of the scalar difference of two correlations is read as the squared error (reading, Eqs. 8, 10). Losses are
means over batch, nodes or steps, and pairs ``i < j``. Loss and gradient come from one pass over the pairs, made when
the loss is computed: ``[B, T, N, N]`` is never written. On the CPU in single precision the pass is a Numba kernel; a
plain torch form serves double precision, CUDA, and machines without Numba.

The teacher is given as features, ``[B, T, N, C']`` with any number of channels, or as :class:`CorrelationRows`. Eq. 10
also takes :class:`SampledRows`: the mean is then over the pairs that the bank holds of each row, an unbiased estimate.
No gradient flows to the teacher.

A *run* of r consecutive windows is one longer input: features of ``T + r - 1`` steps. With ``run=r`` the losses are the
means over the run's windows, so a step that many windows share counts once for each of them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kdsearch.distillation import _kernels, _passes
from kdsearch.distillation.packed import CorrelationRows, PackedCorrelation
from kdsearch.distillation.sampled import SampledRows, sampled_pass

__all__ = [
    "CorrelationRows",
    "PackedCorrelation",
    "SampledRows",
    "spatial_correlation_loss",
    "spatial_pairs",
    "steps_weight",
    "temporal_correlation_loss",
    "temporal_pairs",
]

# Elements of one temporary of the torch passes, and of teacher pairs held at once: 64 MB in float32.
_CHUNK = 1 << 24


def spatial_pairs(features: Tensor) -> Tensor:
    """Eq. 9: mean over channels of ``|F_i - F_j|`` for nodes ``i < j``.

    Args:
        features: ``[..., N, C]``.

    Returns:
        ``[..., N(N-1)/2]``, pairs in row-major order (0,1), (0,2), ..., (N-2,N-1).
    """
    n, channels = features.shape[-2:]
    x = features.detach().reshape(-1, n, channels).transpose(1, 2).contiguous()
    out = x.new_empty(len(x), n * (n - 1) // 2)
    if _kernels.usable(x):
        _kernels.each_row(_kernels.spatial_distances, len(x), x.numpy(), out.numpy())
    else:
        rows = max(1, _CHUNK // (n * channels))
        for some, pairs in zip(x.split(rows), out.split(rows), strict=True):
            base = 0
            for i in range(n - 1):  # one node against all later ones
                distance = (some[:, :, i, None] - some[:, :, i + 1 :]).abs()
                pairs[:, base : base + n - 1 - i] = distance.mean(dim=1)
                base += n - 1 - i
    return out.view(*features.shape[:-2], -1)


def temporal_pairs(features: Tensor, lags: int) -> Tensor:
    """Eq. 7 per absolute time step: mean over channels of ``|F[s + lag] - F[s]|`` for ``lag`` = 1..``lags``.

    Args:
        features: ``[B, T, N, C]``, a whole day or a window.
        lags: largest lag, ``T_l - 1`` for a window of ``T_l`` steps.

    Returns:
        ``[B, T, lags, N]``; pair (i, j) of a window that starts at step s is ``[:, s + i, j - i - 1]``. Lags that
        leave the input are zero.
    """
    features = features.detach()
    batch, steps, n, _ = features.shape
    out = features.new_zeros(batch, steps, lags, n)
    for lag in range(1, min(lags, steps - 1) + 1):
        out[:, : steps - lag, lag - 1] = (features[:, lag:] - features[:, :-lag]).abs().mean(dim=-1)
    return out


def steps_weight(feature: Tensor, run: int = 1) -> Tensor:
    """Weight ``[T]`` of each step of ``feature [B, T, ...]`` in a mean over a run's windows; the weights sum to 1.

    A step counts as often as windows contain it.
    """
    # Kept on the device: a copy from the host in every step would wait for it.
    return _steps_weight(feature.shape[1], run, feature.dtype, feature.device)


@lru_cache(maxsize=64)
def _steps_weight(steps: int, run: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    window = steps - run + 1
    counts = [min(t, run - 1) - max(0, t - window + 1) + 1 for t in range(steps)]
    return torch.tensor([count / (run * window) for count in counts], dtype=dtype, device=device)


@lru_cache(maxsize=64)
def _pairs_weight(steps: int, run: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The same for pairs (step, lag) in time, ``[steps, window - 1]``; zero where no window holds both ends."""
    window = steps - run + 1
    n_pairs = window * (window - 1) // 2
    weight = [
        [
            max(0, min(i, run - 1) - max(0, i + lag - window + 1) + 1) / (run * n_pairs) if i + lag < steps else 0.0
            for lag in range(1, window)
        ]
        for i in range(steps)
    ]
    return torch.tensor(weight, dtype=dtype, device=device)


def spatial_correlation_loss(student: Tensor, teacher: Tensor | CorrelationRows | SampledRows, run: int = 1) -> Tensor:
    """L_SCD of one spatial layer, Eqs. 9 and 10: mean over b, t and node pairs of ``(SC^s - SC^t)^2``.

    Args:
        student: features ``[B, T, N, C]``.
        teacher: features ``[B, T, N, C']``, or rows of the bank, with all pairs or with sampled ones.
        run: number of consecutive windows that the input spans (see the module's text).

    Returns:
        Scalar, differentiable once with respect to ``student``.
    """
    batch, _, n, _ = _checked(student, teacher, run)
    if n < 2:
        raise ValueError("a spatial correlation needs at least two nodes")
    n_pairs = teacher.bank.n_pairs if isinstance(teacher, SampledRows) else n * (n - 1) // 2
    share = 1.0 / (batch * n_pairs)
    weight = (steps_weight(student, run) * share).repeat(batch)
    loss: Tensor = _Spatial.apply(student, _fixed(teacher), weight)  # type: ignore[no-untyped-call]
    return loss


def temporal_correlation_loss(student: Tensor, teacher: Tensor | CorrelationRows, run: int = 1) -> Tensor:
    """L_TCD of one temporal layer, Eqs. 7 and 8: mean over b, nodes and pairs of steps of ``(TC^s - TC^t)^2``.

    Args:
        student: features ``[B, T, N, C]``.
        teacher: features ``[B, T, N, C']``, or rows of the bank, whose lags must reach over one window.
        run: number of consecutive windows that the input spans (see the module's text).

    Returns:
        Scalar, differentiable once with respect to ``student``.
    """
    batch, steps, n, _ = _checked(student, teacher, run)
    lags = steps - run
    if lags < 1:
        raise ValueError("a temporal correlation needs windows of at least two time steps")
    if isinstance(teacher, CorrelationRows) and teacher.bank.values.shape[1] < lags:
        raise ValueError(f"the bank holds {teacher.bank.values.shape[1]} lags, a window needs {lags}")
    weight = _pairs_weight(steps, run, student.dtype, student.device) / (batch * n)
    loss: Tensor = _Temporal.apply(student, _fixed(teacher), weight)  # type: ignore[no-untyped-call]
    return loss


def _checked(student: Tensor, teacher: Tensor | CorrelationRows | SampledRows, run: int) -> torch.Size:
    """Shape of the student's features, after comparing it with the teacher's."""
    given = teacher.shape[:3] if isinstance(teacher, Tensor) else teacher.rows.shape
    if student.dim() != 4 or given != student.shape[: len(given)]:
        raise ValueError(f"student features {list(student.shape)} do not match the teacher's {list(given)}")
    if not 1 <= run <= student.shape[1]:
        raise ValueError(f"a run of {run} windows does not fit into {student.shape[1]} time steps")
    return student.shape


def _fixed(teacher: Any) -> Any:
    """Cut off from the teacher's graph, which the backward pass would otherwise walk through for nothing."""
    return teacher.detach() if isinstance(teacher, Tensor) else teacher


def _check_bank(bank: PackedCorrelation, rows: Tensor, width: int) -> None:
    """The kernels read memory without asking: what they will read must be there."""
    if bank.values.shape[-1] != width or len(bank.scale) != len(bank.values):
        raise ValueError(f"the bank's rows are {list(bank.values.shape)}, the student needs width {width}")
    low, high = rows.aminmax()
    if not 0 <= int(low) <= int(high) < len(bank.values):
        raise IndexError(f"rows {int(low)}..{int(high)} of a bank that has {len(bank.values)}")


class _Spatial(torch.autograd.Function):
    """Loss and gradient of :func:`spatial_correlation_loss` together; the gradient waits for ``backward``."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor | CorrelationRows | SampledRows, weight: Tensor) -> Tensor:
        batch, steps, n, channels = student.shape
        x = student.detach().transpose(2, 3).reshape(batch * steps, channels, n)
        if isinstance(teacher, CorrelationRows):
            sums, grad = _spatial_pass(x, teacher.bank, teacher.rows.reshape(-1), weight)
        elif isinstance(teacher, SampledRows):
            sums, grad = sampled_pass(x, teacher.bank, teacher.rows.reshape(-1), weight)
        else:
            # Teacher pairs of a few rows at a time: past some hundred nodes those of a batch are gigabytes.
            features = teacher.flatten(0, 1).to(student.dtype)
            at_once = max(1, _CHUNK // (n * (n - 1) // 2))
            done = []
            for first in range(0, len(x), at_once):
                part = slice(first, first + at_once)
                pairs = spatial_pairs(features[part])
                bank = PackedCorrelation(pairs, weight.new_ones(len(pairs)))
                done.append(_spatial_pass(x[part], bank, torch.arange(len(pairs), device=x.device), weight[part]))
            sums, grad = (torch.cat(both) for both in zip(*done, strict=True))
        ctx.save_for_backward(grad.view(batch, steps, channels, n).transpose(2, 3))
        return sums.sum().to(student.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = ctx.saved_tensors
        return grad * slope, None, None


class _Temporal(torch.autograd.Function):
    """Loss and gradient of :func:`temporal_correlation_loss` together."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor | CorrelationRows, weight: Tensor) -> Tensor:
        x = student.detach().transpose(2, 3).contiguous()
        batch, steps = x.shape[:2]
        if isinstance(teacher, Tensor):
            pairs = temporal_pairs(teacher.to(student.dtype), weight.shape[1]).flatten(0, 1)
            rows = torch.arange(batch * steps, device=x.device).view(batch, steps)
            teacher = CorrelationRows(PackedCorrelation(pairs, weight.new_ones(len(pairs))), rows)
        if _kernels.usable(x):
            _check_bank(teacher.bank, teacher.rows, x.shape[3])
            sums, grad = torch.empty(batch, dtype=torch.float64), torch.zeros_like(x)
            arrays = _arrays(x, teacher.bank, teacher.rows, weight, sums, grad)
            _kernels.each_row(_kernels.temporal_pass, batch, *arrays)
            loss = sums.sum().to(student.dtype)
        else:
            loss, grad = _passes.temporal(x, teacher, weight)
        ctx.save_for_backward(grad.transpose(2, 3))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = ctx.saved_tensors
        return grad * slope, None, None


def _arrays(x: Tensor, bank: PackedCorrelation, rows: Tensor, *more: Tensor) -> list[Any]:
    return [t.numpy() for t in (x, bank.values, rows.contiguous(), bank.scale, *more)]


def _spatial_pass(x: Tensor, bank: PackedCorrelation, rows: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sum over pairs of each row and its gradient: ``x [R, C, N], rows [R], weight [R] -> [R], [R, C, N]``."""
    if not _kernels.usable(x):
        return _passes.spatial(x, bank, rows, weight)
    _check_bank(bank, rows, x.shape[2] * (x.shape[2] - 1) // 2)
    x = x.contiguous()
    sums, grad = torch.empty(len(x), dtype=torch.float64), torch.zeros_like(x)
    kernel = _kernels.spatial_pass_2 if x.shape[1] == 2 else _kernels.spatial_pass
    _kernels.each_row(kernel, len(x), *_arrays(x, bank, rows, weight, sums, grad))
    return sums, grad
