"""CPU kernels of the correlation losses, compiled by Numba on first use and run by :func:`kdsearch.rows.each_row`.

Features are ``[row, C, N]``, so the innermost loops run over nodes and vectorise. A pair
``i < j`` is visited once and gives both its loss and its gradient; nothing larger than one row is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kdsearch.rows import each_row, usable

__all__ = ["each_row", "graph_pass", "spatial_distances", "spatial_pass", "spatial_pass_2", "temporal_pass", "usable"]

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


def spatial_pass_2(
    x: Array, values: Array, rows: Array, scale: Array, weight: Array, sums: Array, grad: Array, first: int, last: int
) -> None:
    """:func:`spatial_pass` for the two channels of Table 1's student.

    Four nodes meet all later ones at once, so what belongs to the later node is read and written once for four pairs.
    Channels are halved on the way in, the slope is multiplied in on the way out.

    Args:
        x: as there, ``[R, 2, N]``.
        values: as there.
        rows: as there.
        scale: as there.
        weight: as there.
        sums: as there.
        grad: as there.
        first: first row.
        last: one past the last row.
    """
    n = x.shape[2]
    zero, half = np.float32(0.0), np.float32(0.5)
    f, f_2 = np.empty(n, np.float32), np.empty(n, np.float32)
    g, g_2 = np.empty(n, np.float32), np.empty(n, np.float32)
    for r in range(first, last):
        q = values[rows[r]]
        unit = np.float32(scale[rows[r]])
        for k in range(n):
            f[k], f_2[k] = half * x[r, 0, k], half * x[r, 1, k]
            g[k], g_2[k] = zero, zero
        total = np.float64(0.0)
        base = 0
        i = 0
        while i < n - 1:
            tile = 4 if i + 4 < n else 1
            inner = n if tile == 1 else i + 4
            # Pairs within the four, or the last few nodes one by one.
            for j in range(i, i + tile):
                at = base + (j - i) * (n - 1 - i) - (j - i) * (j - i - 1) // 2 - j - 1
                for k in range(j + 1, inner):
                    d, d_2 = f[j] - f[k], f_2[j] - f_2[k]
                    e = abs(d) + abs(d_2) - np.float32(q[at + k]) * unit
                    total += e * e
                    v = e if d > zero else (-e if d < zero else zero)
                    v_2 = e if d_2 > zero else (-e if d_2 < zero else zero)
                    g[j] += v
                    g[k] -= v
                    g_2[j] += v_2
                    g_2[k] -= v_2
            if tile == 1:
                base += n - 1 - i
                i += 1
                continue
            later = n - inner
            others, others_2, theirs, theirs_2 = f[inner:], f_2[inner:], g[inner:], g_2[inner:]
            start = base + 3
            known_a = q[start : start + later]
            start += n - 1 - i - 1
            known_b = q[start : start + later]
            start += n - 1 - i - 2
            known_c = q[start : start + later]
            start += n - 1 - i - 3
            known_d = q[start : start + later]
            a, b, c, d_ = f[i], f[i + 1], f[i + 2], f[i + 3]
            a_2, b_2, c_2, d_2_ = f_2[i], f_2[i + 1], f_2[i + 2], f_2[i + 3]
            part, part_2 = zero, zero
            g_a, g_b, g_c, g_d = zero, zero, zero, zero
            g_a2, g_b2, g_c2, g_d2 = zero, zero, zero, zero
            for k in range(later):
                other, other_2 = others[k], others_2[k]
                d, d_2 = a - other, a_2 - other_2
                e = abs(d) + abs(d_2) - np.float32(known_a[k]) * unit
                part += e * e
                v = e if d > zero else (-e if d < zero else zero)
                v_2 = e if d_2 > zero else (-e if d_2 < zero else zero)
                g_a += v
                g_a2 += v_2
                push, push_2 = v, v_2
                d, d_2 = b - other, b_2 - other_2
                e = abs(d) + abs(d_2) - np.float32(known_b[k]) * unit
                part_2 += e * e
                v = e if d > zero else (-e if d < zero else zero)
                v_2 = e if d_2 > zero else (-e if d_2 < zero else zero)
                g_b += v
                g_b2 += v_2
                push += v
                push_2 += v_2
                d, d_2 = c - other, c_2 - other_2
                e = abs(d) + abs(d_2) - np.float32(known_c[k]) * unit
                part += e * e
                v = e if d > zero else (-e if d < zero else zero)
                v_2 = e if d_2 > zero else (-e if d_2 < zero else zero)
                g_c += v
                g_c2 += v_2
                push += v
                push_2 += v_2
                d, d_2 = d_ - other, d_2_ - other_2
                e = abs(d) + abs(d_2) - np.float32(known_d[k]) * unit
                part_2 += e * e
                v = e if d > zero else (-e if d < zero else zero)
                v_2 = e if d_2 > zero else (-e if d_2 < zero else zero)
                g_d += v
                g_d2 += v_2
                push += v
                push_2 += v_2
                theirs[k] -= push
                theirs_2[k] -= push_2
            total += part
            total += part_2
            g[i] += g_a
            g[i + 1] += g_b
            g[i + 2] += g_c
            g[i + 3] += g_d
            g_2[i] += g_a2
            g_2[i + 1] += g_b2
            g_2[i + 2] += g_c2
            g_2[i + 3] += g_d2
            base += 4 * (n - 1 - i) - 6
            i += 4
        slope = np.float32(weight[r])
        for k in range(n):
            grad[r, 0, k], grad[r, 1, k] = slope * g[k], slope * g_2[k]
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
