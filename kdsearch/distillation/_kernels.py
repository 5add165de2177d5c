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
    zero, half, one = np.float32(0.0), np.float32(0.5), np.float32(1.0)
    sign = np.int32(-(2**31))  # the bit; flipped in an error, it gives the error times the sign of a difference

    def meet(d: Any, d_2: Any, known: Any, counts: Any) -> Any:
        """A pair's error, and its gradient in both channels."""
        e = np.float32((abs(d) + abs(d_2) - known) * counts)
        bits = e.view(np.int32)
        v = np.int32((np.float32(d).view(np.int32) & sign) ^ bits).view(np.float32) if d != zero else zero
        v_2 = np.int32((np.float32(d_2).view(np.int32) & sign) ^ bits).view(np.float32) if d_2 != zero else zero
        return e, v, v_2

    f, f_2 = np.zeros(n + 15, np.float32), np.zeros(n + 15, np.float32)
    g, g_2 = np.empty(n + 15, np.float32), np.empty(n + 15, np.float32)
    for r in range(first, last):
        q = values[rows[r]]
        unit = np.float32(scale[rows[r]])
        for k in range(n):
            f[k], f_2[k] = half * x[r, 0, k], half * x[r, 1, k]
        for k in range(n + 15):
            g[k], g_2[k] = zero, zero
        total = np.float64(0.0)
        base = 0
        i = 0
        while i + 10 < n:
            # Whole vectors only: number by number, the rest of a loop would cost as much as the loop. Where it runs
            # past a row of pairs it reads the next ones, and they do not count.
            later = n - i - 4
            length = (later + 15) // 16 * 16
            base_b = base + n - 1 - i
            base_c = base_b + n - 2 - i
            base_h = base_c + n - 3 - i
            a, b, c, h = f[i], f[i + 1], f[i + 2], f[i + 3]
            a_2, b_2, c_2, h_2 = f_2[i], f_2[i + 1], f_2[i + 2], f_2[i + 3]
            # Pairs within the four.
            ab, v_ab, w_ab = meet(a - b, a_2 - b_2, np.float32(q[base]) * unit, one)
            ac, v_ac, w_ac = meet(a - c, a_2 - c_2, np.float32(q[base + 1]) * unit, one)
            ah, v_ah, w_ah = meet(a - h, a_2 - h_2, np.float32(q[base + 2]) * unit, one)
            bc, v_bc, w_bc = meet(b - c, b_2 - c_2, np.float32(q[base_b]) * unit, one)
            bh, v_bh, w_bh = meet(b - h, b_2 - h_2, np.float32(q[base_b + 1]) * unit, one)
            ch, v_ch, w_ch = meet(c - h, c_2 - h_2, np.float32(q[base_c]) * unit, one)
            to_a, to_a_2 = zero, zero
            to_b, to_b_2 = zero, zero
            to_c, to_c_2 = zero, zero
            to_h, to_h_2 = zero, zero
            part, part_2 = zero, zero
            known_a, known_b = q[base + 3 : base + 3 + length], q[base_b + 2 : base_b + 2 + length]
            known_c, known_h = q[base_c + 1 : base_c + 1 + length], q[base_h : base_h + length]
            others, others_2, theirs, theirs_2 = f[i + 4 :], f_2[i + 4 :], g[i + 4 :], g_2[i + 4 :]
            for k in range(length):
                other, other_2 = others[k], others_2[k]
                counts = one if k < later else zero
                e_a, v_a, w_a = meet(a - other, a_2 - other_2, np.float32(known_a[k]) * unit, counts)
                e_b, v_b, w_b = meet(b - other, b_2 - other_2, np.float32(known_b[k]) * unit, counts)
                e_c, v_c, w_c = meet(c - other, c_2 - other_2, np.float32(known_c[k]) * unit, counts)
                e_h, v_h, w_h = meet(h - other, h_2 - other_2, np.float32(known_h[k]) * unit, counts)
                part += e_a * e_a + e_b * e_b
                part_2 += e_c * e_c + e_h * e_h
                to_a += v_a
                to_b += v_b
                to_c += v_c
                to_h += v_h
                to_a_2 += w_a
                to_b_2 += w_b
                to_c_2 += w_c
                to_h_2 += w_h
                theirs[k] -= (v_a + v_b) + (v_c + v_h)
                theirs_2[k] -= (w_a + w_b) + (w_c + w_h)
            total += part
            total += part_2
            total += (ab * ab + ac * ac + ah * ah) + (bc * bc + bh * bh + ch * ch)
            g[i] += to_a + (v_ab + v_ac + v_ah)
            g_2[i] += to_a_2 + (w_ab + w_ac + w_ah)
            g[i + 1] += to_b + (v_bc + v_bh - v_ab)
            g_2[i + 1] += to_b_2 + (w_bc + w_bh - w_ab)
            g[i + 2] += to_c + (v_ch - v_ac - v_bc)
            g_2[i + 2] += to_c_2 + (w_ch - w_ac - w_bc)
            g[i + 3] += to_h - (v_ah + v_bh + v_ch)
            g_2[i + 3] += to_h_2 - (w_ah + w_bh + w_ch)
            base = base_h + n - 4 - i
            i += 4
        for j in range(i, n - 1):
            for k in range(j + 1, n):
                e, v, w = meet(f[j] - f[k], f_2[j] - f_2[k], np.float32(q[base + k - j - 1]) * unit, one)
                total += e * e
                g[j] += v
                g[k] -= v
                g_2[j] += w
                g_2[k] -= w
            base += n - 1 - j
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
