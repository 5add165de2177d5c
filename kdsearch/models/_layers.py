"""The parts of a layer that take most of a step, each with its gradient written by hand.

On the CPU in single precision they are Numba kernels; elsewhere, and where operations are recorded for export, torch's
own operations say the same. Features are ``[C, B, T, N]``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.weak import WeakTensorKeyDictionary

from kdsearch.models import _kernels
from kdsearch.rows import each_row, usable

__all__ = ["graph_taps", "node_norm", "recorded", "temporal"]

# Share of a matrix that may be nonzero for a sparse product to be the faster one.
_SPARSE = 0.3
# Pieces that the sum over rows is cut into: its value must not depend on the number of threads.
_CHUNKS = 16


class _Sparse(NamedTuple):
    """Nonzeros of all matrices, row by row: ``starts [K, N + 1]``, ``columns`` and ``values``."""

    starts: np.ndarray[Any, Any]
    columns: np.ndarray[Any, Any]
    values: np.ndarray[Any, Any]


class _Graph(NamedTuple):
    """The sparse form of a graph kernel without its identity, and of the transposed matrices."""

    rows: _Sparse
    transposed: _Sparse


_graphs: Any = WeakTensorKeyDictionary()


def _sparse(kernel: Tensor) -> _Graph | None:
    """The sparse form, found once for each kernel; None where too much of it is nonzero."""
    known: tuple[int, _Graph | None] | None = _graphs.get(kernel)
    if known is None or known[0] != kernel._version:
        orders = kernel.detach().numpy()[1:]
        few = 0 < np.count_nonzero(orders) <= _SPARSE * orders.size
        graph = _Graph(_nonzeros(orders), _nonzeros(orders.transpose(0, 2, 1))) if few else None
        _graphs[kernel] = known = (kernel._version, graph)
    return known[1]


def _nonzeros(matrices: np.ndarray[Any, Any]) -> _Sparse:
    """Row by row; a row that has any is filled up with zeros, which stand in its last column, to a multiple of four."""
    n_matrices, n, _ = matrices.shape
    matrix, row, column = np.nonzero(matrices)
    counts = np.bincount(matrix * n + row, minlength=n_matrices * n)
    filled = -(-counts // 4) * 4
    ends = np.cumsum(filled)
    # Where each row's numbers go, and after them its last column again.
    columns, values = np.zeros(ends[-1], np.uint64), np.zeros(ends[-1], matrices.dtype)
    place = np.arange(len(column)) + np.repeat(ends - filled - np.cumsum(counts) + counts, counts)
    columns[place], values[place] = column, matrices[matrix, row, column]
    last = column[np.cumsum(counts) - 1]
    for k in range(1, 4):
        short = filled - counts >= k
        columns[ends[short] - k] = last[short]
    starts = np.concatenate((np.r_[0, ends[n - 1 : -1 : n]][:, None], ends.reshape(n_matrices, n)), axis=1)
    return _Sparse(starts.astype(np.uint64), columns, values)


def recorded() -> bool:
    """Whether operations are being recorded, for export or compilation: only torch's own can be."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]


def _plain(*tensors: Tensor) -> bool:
    return not recorded() and all(usable(t) for t in tensors)


def graph_taps(x: Tensor, kernel: Tensor) -> Tensor:
    """``x [C, ...,  N]`` and its products with each order of ``kernel [K, N, N]``: ``[K * C, ..., N]``, order by order.

    The first slice of ``kernel`` is the identity.
    """
    graph = _sparse(kernel) if _plain(x, kernel) and x.shape[-1] == kernel.shape[-1] else None
    if graph is None:
        return torch.cat([x, *(x @ k.t() for k in kernel[1:])])
    taps: Tensor = _GraphTaps.apply(x, graph)  # type: ignore[no-untyped-call]
    return taps


class _GraphTaps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, graph: _Graph) -> Tensor:
        ctx.graph, ctx.shape = graph, x.shape
        n = x.shape[-1]
        flat = x.detach().reshape(-1, n)
        out = x.new_empty(1 + len(graph.rows.starts), *flat.shape)
        each_row(_kernels.graph_gather, _blocks(len(flat)), flat.numpy(), *graph.rows, out.numpy())
        return out.view(-1, *x.shape[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        graph, shape = ctx.graph, ctx.shape
        g = g.reshape(1 + len(graph.rows.starts), -1, shape[-1]).contiguous()
        out = g.new_empty(shape)
        each_row(
            _kernels.graph_scatter, _blocks(g.shape[1]), g.numpy(), *graph.transposed, out.view(g.shape[1:]).numpy()
        )
        return out, None


def _blocks(rows: int) -> int:
    return -(-rows // _kernels.LANES)


def node_norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Norm of ``x [C, B, T, N]`` over channel and node, then ``gamma`` and ``beta [N, C]``; eps 1e-6 in the root."""
    scale, shift = gamma.t(), beta.t()
    if _plain(x, gamma) and scale.shape == (x.shape[0], x.shape[-1]):  # else torch's error tells what is wrong
        found: Tensor = _Norm.apply(x, scale, shift)  # type: ignore[no-untyped-call]
        return found
    return F.layer_norm(x.permute(1, 2, 0, 3), scale.shape, scale, shift, eps=1e-6).permute(2, 0, 1, 3)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        x, gamma, beta = x.detach().contiguous(), gamma.detach().contiguous(), beta.detach().contiguous()
        out, stats = torch.empty_like(x), x.new_empty(x.shape[1] * x.shape[2], 2)
        arrays = (_rows(x), gamma.numpy(), beta.numpy(), _rows(out), stats.numpy())
        each_row(_kernels.norm_forward, len(stats), *arrays)
        ctx.save_for_backward(x, gamma, stats)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, gamma, stats = ctx.saved_tensors
        g, out = g.contiguous(), torch.empty_like(x)
        sums = x.new_zeros(2, _CHUNKS, *gamma.shape)
        arrays = (_rows(x), gamma.numpy(), stats.numpy(), _rows(g), _rows(out), sums[0].numpy(), sums[1].numpy())
        each_row(_kernels.norm_backward, _CHUNKS, *arrays, _CHUNKS)
        return out, *sums.sum(dim=1)


def _rows(x: Tensor) -> np.ndarray[Any, Any]:
    """``[C, B, T, N]`` as ``[C, B * T, N]``."""
    return x.view(x.shape[0], -1, x.shape[-1]).numpy()


def temporal(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None, source: Tensor | None, kt: int, activation: str
) -> Tensor:
    """Valid convolution in time, residual and activation, as :class:`kdsearch.models.stgcn.TemporalConv` has them.

    Nothing is padded, and the gradient is written once where it belongs: recorded operations would pad the gradient of
    every slice with zeros and add them up.

    Args:
        x: ``[c_in, B, T, N]``.
        weight: ``[kt * c_in, width]``, width ``2 * c_out`` for ``"glu"``, else ``c_out``.
        bias: ``[width]``.
        residual: ``[c_in, c_out]`` that maps the residual; None where channels are added to channels.
        source: which input channel each output channel takes, ``c_in`` for none; None where j takes j.
        kt: width in time.
        activation: ``"glu"``, ``"relu"`` or ``"sigmoid"``, the last without residual.
    """
    found: Tensor = _Temporal.apply(x, weight, bias, residual, source, kt, activation)  # type: ignore[no-untyped-call]
    return found


class _Temporal(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        residual: Tensor | None,
        source: Tensor | None,
        kt: int,
        activation: str,
    ) -> Tensor:
        c_in, batch, length, n = x.shape
        steps = length - kt + 1
        out_shape = (-1, batch, steps, n)
        last = x[:, :, kt - 1 :].reshape(c_in, -1)
        taps = last if kt == 1 else torch.cat([x[:, :, k : k + steps] for k in range(kt)]).view(kt * c_in, -1)
        y = torch.addmm(bias[:, None], weight.t(), taps)
        ctx.kt, ctx.activation, ctx.shape = kt, activation, x.shape
        if activation == "sigmoid":
            out = y.sigmoid_()
            ctx.save_for_backward(weight, taps, residual, source, out)
            return out.view(out_shape)
        c_out = len(y) // 2 if activation == "glu" else len(y)
        p = y[:c_out]
        if residual is not None:
            p.addmm_(residual.t(), last)
        elif source is not None:
            p += F.pad(last, (0, 0, 0, 1)).index_select(0, source)
        else:
            p[:c_in] += last
        if activation == "relu":
            out = y.relu_()
            ctx.save_for_backward(weight, taps, residual, source, out)
            return out.view(out_shape)
        gate = y[c_out:].sigmoid_()
        ctx.save_for_backward(weight, taps, residual, source, p, gate)
        return (p * gate).view(out_shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        weight, taps, residual, source, *kept = ctx.saved_tensors
        c_in, batch, length, n = ctx.shape
        kt, activation = ctx.kt, ctx.activation
        steps = length - kt + 1
        g = g.reshape(len(g), -1)
        g_y, g_p = _through(activation, g, kept)
        last = taps[-c_in:]
        g_weight, g_bias = taps @ g_y.t(), g_y.sum(dim=1)
        g_residual = last @ g_p.t() if residual is not None else None
        if not ctx.needs_input_grad[0]:
            return None, g_weight, g_bias, g_residual, None, None, None
        g_taps = weight @ g_y
        if activation != "sigmoid":
            g_last = g_taps[-c_in:]
            if residual is not None:
                g_last.addmm_(residual, g_p)
            elif source is not None:
                g_last += g_p.new_zeros(c_in + 1, g_p.shape[1]).index_add_(0, source, g_p)[:c_in]
            else:
                g_last += g_p[:c_in]
        if kt == 1:
            return g_taps.view(ctx.shape), g_weight, g_bias, g_residual, None, None, None
        parts = g_taps.view(kt, c_in, batch, steps, n)
        g_x = g.new_empty(ctx.shape)
        g_x[:, :, :steps] = parts[0]
        g_x[:, :, steps:] = 0.0
        for k in range(1, kt):
            g_x[:, :, k : k + steps] += parts[k]
        return g_x, g_weight, g_bias, g_residual, None, None, None


def _through(activation: str, g: Tensor, kept: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Gradients of what went into the activation, and of the part of it that the residual was added to."""
    if activation == "glu":
        p, gate = kept
        g_y = g.new_empty(2 * len(p), p.shape[1])
        g_p = torch.mul(g, gate, out=g_y[: len(p)])
        torch.ops.aten.sigmoid_backward.grad_input(g * p, gate, grad_input=g_y[len(p) :])
        return g_y, g_p
    (out,) = kept
    if activation == "relu":
        g_y = torch.ops.aten.threshold_backward(g, out, 0)
    else:
        g_y = torch.ops.aten.sigmoid_backward(g, out)
    return g_y, g_y
