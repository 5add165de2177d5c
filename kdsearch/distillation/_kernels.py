"""CPU kernels of the correlation losses, compiled by Numba on first use and run by :func:`kdsearch.rows.each_row`.

Features are ``[row, C, N]``, so the innermost loops run over nodes and vectorise. A pair
``i < j`` is visited once and gives both its loss and its gradient; nothing larger than one row is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kdsearch.rows import each_row, usable

__all__ = ["each_row", "graph_pass", "spatial_distances", "spatial_pass", "temporal_pass", "usable"]

Array = np.ndarray[Any, Any]


def spatial_pass(
    x: Array, values: Array, rows: Array, scale: Array, weight: Array, sums: Array, grad: Array, first: int, last: int
) -> None:
    """Eq. 10 and its gradient for rows ``first..last``: ``sums[r] = weight[r] * sum over pairs of (SC^s - SC^t)^2``.

    Args:
        x: student features ``[R, C, N]``.
        values: teacher correlations ``[K, N(N-1)/2]``, int16 or float32, in units of ``scale``.
        scale: float32 ``[K]``.
        rows: which teacher row belongs to each student row, ``[R]``.
        weight: factor of each row, ``[R]``.
        sums: float64 ``[R]``, written.
        grad: ``[R, C, N]``, zero on entry, written.
        first: first row.
        last: one past the last row.
    """
    n_channels, n = x.shape[1], x.shape[2]
    share = np.float32(1.0 / n_channels)
    zero = np.float32(0.0)
    error = np.empty(n, np.float32)
    for r in range(first, last):
        q = values[rows[r]]
        unit = np.float32(scale[rows[r]])
        slope = np.float32(2.0 * weight[r] / n_channels)
        total = np.float64(0.0)
        base = 0
        for i in range(n - 1):
            pairs = n - 1 - i
            known = q[base : base + pairs]
            if n_channels == 2:  # the student of Table 1: one loop, a third less time
                here, here_2 = x[r, 0, i], x[r, 1, i]
                others, others_2 = x[r, 0, i + 1 :], x[r, 1, i + 1 :]
                theirs, theirs_2 = grad[r, 0, i + 1 :], grad[r, 1, i + 1 :]
                part, mine, mine_2 = zero, zero, zero
                for k in range(pairs):
                    d, d_2 = here - others[k], here_2 - others_2[k]
                    e = (abs(d) + abs(d_2)) * share - np.float32(known[k]) * unit
                    part += e * e
                    e *= slope
                    v = e if d > zero else (-e if d < zero else zero)
                    v_2 = e if d_2 > zero else (-e if d_2 < zero else zero)
                    theirs[k] -= v
                    theirs_2[k] -= v_2
                    mine += v
                    mine_2 += v_2
                total += part
                grad[r, 0, i] += mine
                grad[r, 1, i] += mine_2
                base += pairs
                continue
            for k in range(pairs):
                error[k] = zero
            for c in range(n_channels):
                here = x[r, c, i]
                others = x[r, c, i + 1 :]
                for k in range(pairs):
                    error[k] += abs(here - others[k])
            part = zero
            for k in range(pairs):
                e = error[k] * share - np.float32(known[k]) * unit
                part += e * e
                error[k] = e * slope
            total += part
            for c in range(n_channels):
                here = x[r, c, i]
                others = x[r, c, i + 1 :]
                theirs = grad[r, c, i + 1 :]
                mine = zero
                for k in range(pairs):
                    d = here - others[k]
                    v = error[k] if d > zero else (-error[k] if d < zero else zero)
                    theirs[k] -= v
                    mine += v
                grad[r, c, i] += mine
            base += pairs
        sums[r] = total * weight[r]


def temporal_pass(
    x: Array, values: Array, rows: Array, scale: Array, weight: Array, sums: Array, grad: Array, first: int, last: int
) -> None:
    """Eq. 8 and its gradient for batch rows ``first..last``.

    Args:
        x: student features ``[B, T, C, N]``.
        values: teacher correlations ``[K, lags, N]`` of each absolute step with the step ``1..lags`` later, int16 or
            float32, in units of ``scale``.
        scale: float32 ``[K]``.
        rows: teacher row of each student step, ``[B, T]``.
        weight: factor of each pair, ``[T, lags]``; no lag beyond ``lags`` counts.
        sums: float64 ``[B]``, written.
        grad: ``[B, T, C, N]``, zero on entry, written.
        first: first batch row.
        last: one past the last batch row.
    """
    steps, n_channels, n = x.shape[1], x.shape[2], x.shape[3]
    lags = values.shape[1]
    share = np.float32(1.0 / n_channels)
    zero = np.float32(0.0)
    error = np.empty(n, np.float32)
    for b in range(first, last):
        total = np.float64(0.0)
        for i in range(steps - 1):
            unit = np.float32(scale[rows[b, i]])
            for lag in range(1, min(lags, steps - 1 - i) + 1):
                slope = np.float32(2.0 * weight[i, lag - 1] / n_channels)
                known = values[rows[b, i], lag - 1]
                for k in range(n):
                    error[k] = zero
                for c in range(n_channels):
                    one, two = x[b, i, c], x[b, i + lag, c]
                    for k in range(n):
                        error[k] += abs(one[k] - two[k])
                part = zero
                for k in range(n):
                    e = error[k] * share - np.float32(known[k]) * unit
                    part += e * e
                    error[k] = e * slope
                total += part * weight[i, lag - 1]
                for c in range(n_channels):
                    one, two = x[b, i, c], x[b, i + lag, c]
                    grad_one, grad_two = grad[b, i, c], grad[b, i + lag, c]
                    for k in range(n):
                        d = one[k] - two[k]
                        v = error[k] if d > zero else (-error[k] if d < zero else zero)
                        grad_one[k] += v
                        grad_two[k] -= v
        sums[b] = total


def spatial_distances(x: Array, out: Array, first: int, last: int) -> None:
    """Eq. 9 for rows ``first..last``: ``x [R, C, N] -> out [R, N(N-1)/2]``, pairs ``i < j`` row by row."""
    n_channels, n = x.shape[1], x.shape[2]
    share = np.float32(1.0 / n_channels)
    for r in range(first, last):
        base = 0
        for i in range(n - 1):
            pairs = n - 1 - i
            found = out[r, base : base + pairs]
            for k in range(pairs):
                found[k] = np.float32(0.0)
            for c in range(n_channels):
                here = x[r, c, i]
                others = x[r, c, i + 1 :]
                for k in range(pairs):
                    found[k] += abs(here - others[k])
            for k in range(pairs):
                found[k] *= share
            base += pairs


def graph_pass(x: Array, y: Array, sums: Array, grad: Array, first: int, last: int) -> None:
    """Graph matching (see ``graph_matching._graph_pass``) and its gradient for samples ``first..last``.

    Args:
        x: student ``[B, C, M]``.
        y: teacher ``[B, C', M]``.
        sums: float64 ``[B]``, the mean over pairs, written.
        grad: ``[B, C, M]``, zero on entry, written.
        first: first sample.
        last: one past the last sample.
    """
    n_channels, m = x.shape[1], x.shape[2]
    n_pairs = m * (m - 1) // 2
    zero, one, half = np.float32(0.0), np.float32(1.0), np.float32(0.5)
    d = np.empty((2, n_pairs), np.float32)
    for b in range(first, last):
        inverse = np.zeros(2)
        for side in range(2):
            f = x[b] if side == 0 else y[b]
            total = np.float64(0.0)
            base = 0
            for i in range(m - 1):
                found = d[side, base : base + m - 1 - i]
                for k in range(len(found)):
                    found[k] = zero
                for c in range(f.shape[0]):
                    here = f[c, i]
                    others = f[c, i + 1 :]
                    for k in range(len(found)):
                        gap = here - others[k]
                        found[k] += gap * gap
                part = zero
                for k in range(len(found)):
                    root = np.sqrt(found[k])
                    found[k] = root
                    part += root
                total += part
                base += m - 1 - i
            inverse[side] = n_pairs / total if total > 0.0 else (0.0 if total == 0.0 else np.nan)
        mine, theirs = np.float32(inverse[0]), np.float32(inverse[1])
        loss = np.float64(0.0)
        lean = np.float64(0.0)
        base = 0
        for i in range(m - 1):
            part = zero
            slant = zero
            for k in range(base, base + m - 1 - i):
                z = d[0, k] * mine - d[1, k] * theirs
                bend = max(-one, min(one, z))
                part += bend * (z - half * bend)
                slant += bend * d[0, k]
                d[1, k] = bend
            loss += part
            lean += slant
            base += m - 1 - i
        sums[b] = loss / n_pairs
        offset = np.float32(lean / n_pairs * inverse[0])
        factor = np.float32(inverse[0] / n_pairs)
        base = 0
        for i in range(m - 1):
            pull = d[1, base : base + m - 1 - i]
            length = d[0, base : base + m - 1 - i]
            for k in range(len(pull)):
                pull[k] = (pull[k] - offset) * factor / length[k] if length[k] > zero else zero
            for c in range(n_channels):
                here = x[b, c, i]
                others = x[b, c, i + 1 :]
                there = grad[b, c, i + 1 :]
                own = zero
                for k in range(len(pull)):
                    v = pull[k] * (here - others[k])
                    there[k] -= v
                    own += v
                grad[b, c, i] += own
            base += m - 1 - i
