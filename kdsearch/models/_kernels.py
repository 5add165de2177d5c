"""CPU kernels of the networks, compiled by Numba on first use and run by :func:`kdsearch.rows.each_row`.

Where torch's own operations lose time: products with a sparse graph, and a norm over the outermost and the innermost of
four dimensions. Features are ``[C, B, T, N]``; all loops that matter run over contiguous numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["LANES", "graph_gather", "graph_scatter", "norm_backward", "norm_forward"]

Array = np.ndarray[Any, Any]

# Rows that a graph product takes at once, node by node.
LANES = 64


def graph_gather(x: Array, starts: Array, columns: Array, values: Array, out: Array, first: int, last: int) -> None:
    """Products with several sparse matrices, ``out[k] = x @ M_k'``, for blocks ``first..last`` of :data:`LANES` rows.

    Args:
        x: ``[R, N]``.
        starts: ``[K, N + 1]``, where each row of each matrix begins in the two that follow. Rows are filled up with
            zeros to a multiple of four.
        columns: ``[nonzeros]``.
        values: ``[nonzeros]``.
        out: ``[1 + K, R, N]``, written; its first slice is ``x``.
        first: first block.
        last: one past the last block.
    """
    n_rows, n = x.shape
    lanes = LANES
    nodes = np.empty((n, lanes), np.float32)
    done = np.empty((n, lanes), np.float32)
    for block in range(first, last):
        base = block * lanes
        width = min(lanes, n_rows - base)
        if width < lanes:
            nodes[:, width:] = np.float32(0.0)
        for r in range(width):
            for i in range(n):
                out[0, base + r, i] = x[base + r, i]
        for i in range(n):
            for r in range(width):
                nodes[i, r] = x[base + r, i]
        for k in range(starts.shape[0]):
            for i in range(n):
                total = done[i]
                for r in range(lanes):
                    total[r] = np.float32(0.0)
                for e in range(starts[k, i], starts[k, i + 1], 4):
                    a, b, c, d = values[e], values[e + 1], values[e + 2], values[e + 3]
                    one, two = nodes[columns[e]], nodes[columns[e + 1]]
                    three, four = nodes[columns[e + 2]], nodes[columns[e + 3]]
                    for r in range(lanes):
                        total[r] += (a * one[r] + b * two[r]) + (c * three[r] + d * four[r])
            for r in range(width):
                for i in range(n):
                    out[1 + k, base + r, i] = done[i, r]


def graph_scatter(g: Array, starts: Array, columns: Array, values: Array, out: Array, first: int, last: int) -> None:
    """The gradient of :func:`graph_gather`, ``out = g[0] + sum over k of g[1 + k] @ M_k``.

    Args:
        g: ``[1 + K, R, N]``.
        starts: of the transposed matrices, as are the two that follow.
        columns: ``[nonzeros]``.
        values: ``[nonzeros]``.
        out: ``[R, N]``, written.
        first: first block of :data:`LANES` rows.
        last: one past the last block.
    """
    n_rows, n = out.shape
    lanes = LANES
    nodes = np.empty((n, lanes), np.float32)
    done = np.empty((n, lanes), np.float32)
    for block in range(first, last):
        base = block * lanes
        width = min(lanes, n_rows - base)
        if width < lanes:
            nodes[:, width:] = np.float32(0.0)
        for i in range(n):
            for r in range(width):
                done[i, r] = g[0, base + r, i]
        for k in range(starts.shape[0]):
            for i in range(n):
                for r in range(width):
                    nodes[i, r] = g[1 + k, base + r, i]
            for i in range(n):
                total = done[i]
                for e in range(starts[k, i], starts[k, i + 1], 4):
                    a, b, c, d = values[e], values[e + 1], values[e + 2], values[e + 3]
                    one, two = nodes[columns[e]], nodes[columns[e + 1]]
                    three, four = nodes[columns[e + 2]], nodes[columns[e + 3]]
                    for r in range(lanes):
                        total[r] += (a * one[r] + b * two[r]) + (c * three[r] + d * four[r])
        for r in range(width):
            for i in range(n):
                out[base + r, i] = done[i, r]


def norm_forward(x: Array, gamma: Array, beta: Array, out: Array, stats: Array, first: int, last: int) -> None:
    """Norm over channel and node, ``out = (x - mean) * rstd * gamma + beta``, for rows ``first..last``.

    Args:
        x: ``[C, R, N]``.
        gamma: ``[C, N]``.
        beta: ``[C, N]``.
        out: ``[C, R, N]``, written.
        stats: ``[R, 2]``, mean and ``1 / sqrt(variance + 1e-6)``, written.
        first: first row.
        last: one past the last row.
    """
    channels, _, n = x.shape
    count = channels * n
    for r in range(first, last):
        total = np.float64(0.0)
        for c in range(channels):
            part = np.float32(0.0)
            row = x[c, r]
            for i in range(n):
                part += row[i]
            total += part
        mean = np.float32(total / count)
        total = np.float64(0.0)
        for c in range(channels):
            part = np.float32(0.0)
            row = x[c, r]
            for i in range(n):
                d = row[i] - mean
                part += d * d
            total += part
        # An overflow is a network that diverged: it must show, not be scaled to zero.
        rstd = np.float32(np.nan if np.isinf(total) else 1.0 / np.sqrt(total / count + 1e-6))
        stats[r, 0], stats[r, 1] = mean, rstd
        for c in range(channels):
            row, found = x[c, r], out[c, r]
            for i in range(n):
                found[i] = (row[i] - mean) * rstd * gamma[c, i] + beta[c, i]


def norm_backward(
    x: Array,
    gamma: Array,
    stats: Array,
    g: Array,
    out: Array,
    g_gamma: Array,
    g_beta: Array,
    n_chunks: int,
    first: int,
    last: int,
) -> None:
    """The gradients of :func:`norm_forward`, for chunks ``first..last`` of rows.

    Args:
        x: as there.
        gamma: as there.
        stats: as there.
        g: gradient of its result, ``[C, R, N]``.
        out: gradient of ``x``, written.
        g_gamma: ``[n_chunks, C, N]``, zero on entry, each chunk's part of gamma's gradient.
        g_beta: the same of beta.
        n_chunks: in how many chunks the rows are cut; sums do not depend on the number of threads.
        first: first chunk.
        last: one past the last chunk.
    """
    channels, n_rows, n = x.shape
    count = channels * n
    for chunk in range(first, last):
        for r in range(n_rows * chunk // n_chunks, n_rows * (chunk + 1) // n_chunks):
            mean, rstd = stats[r, 0], stats[r, 1]
            total, lean = np.float64(0.0), np.float64(0.0)
            for c in range(channels):
                row, slope, scale = x[c, r], g[c, r], gamma[c]
                to_gamma, to_beta = g_gamma[chunk, c], g_beta[chunk, c]
                part, slant = np.float32(0.0), np.float32(0.0)
                for i in range(n):
                    z = (row[i] - mean) * rstd
                    to_gamma[i] += slope[i] * z
                    to_beta[i] += slope[i]
                    h = slope[i] * scale[i]
                    part += h
                    slant += h * z
                total += part
                lean += slant
            flat, tilt = np.float32(total / count), np.float32(lean / count)
            for c in range(channels):
                row, slope, scale, found = x[c, r], g[c, r], gamma[c], out[c, r]
                for i in range(n):
                    z = (row[i] - mean) * rstd
                    found[i] = (slope[i] * scale[i] - flat - z * tilt) * rstd
