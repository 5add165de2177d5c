"""Places for sensors that only have distances."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["place"]

Array = NDArray[np.float64]

_ROUNDS = 60  # of stress majorisation; the start is close already


def place(distances: Array) -> Array:
    """Points in a plane whose distances are near the given ones.

    Pairs without a distance get that of the shortest path; parts that no path joins are laid out apart and set side by
    side. The result is turned so that it is widest from left to right, and is the same for the same input.

    Args:
        distances: symmetric, ``[N, N]``, in any unit; infinite or NaN where none is known.

    Returns:
        ``[N, 2]``, in the same unit, with the least coordinate of each axis 0.
    """
    n = len(distances)
    known = np.where(np.isfinite(distances), distances, 0.0)
    full = np.asarray(distances, dtype=np.float64).copy()
    np.fill_diagonal(full, 0.0)
    if not np.isfinite(full).all():
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import shortest_path

        # A sparse matrix drops zeros, so two sensors in one place are set a hair apart.
        apart = np.where(np.isfinite(distances), np.maximum(known, 1e-6), 0.0)
        np.fill_diagonal(apart, 0.0)
        full = shortest_path(csr_matrix(apart), directed=False)
    points = np.zeros((n, 2))
    left = 0.0
    gap = 0.06 * float(full[np.isfinite(full)].max(initial=0.0)) or 1.0
    for part in _parts(full):
        own = _turned(_majorised(full[np.ix_(part, part)]))
        own -= own.min(axis=0)
        points[part] = own + np.array([left, 0.0])
        left += float(own[:, 0].max()) + gap
    return points - points.min(axis=0)


def _parts(distances: Array) -> list[NDArray[np.intp]]:
    """Sensors that paths join, largest part first."""
    seen = np.zeros(len(distances), dtype=bool)
    found = []
    for i in range(len(distances)):
        if not seen[i]:
            part = np.flatnonzero(np.isfinite(distances[i]))
            seen[part] = True
            found.append(part)
    return sorted(found, key=lambda part: (-len(part), int(part[0])))


def _majorised(distances: Array) -> Array:
    """Classical scaling, then stress majorisation (SMACOF), which road distances need: they are no plane's."""
    n = len(distances)
    if n == 1:
        return np.zeros((1, 2))
    centred = np.eye(n) - 1.0 / n
    values, vectors = np.linalg.eigh(-0.5 * centred @ distances**2 @ centred)
    points = vectors[:, -2:][:, ::-1] * np.sqrt(np.maximum(values[-2:][::-1], 0.0)) if n > 2 else None
    if points is None:
        return np.array([[0.0, 0.0], [float(distances[0, 1]), 0.0]])
    for _ in range(_ROUNDS):
        now = np.hypot(*(points[:, None, :] - points[None, :, :]).transpose(2, 0, 1))
        ratio = np.divide(distances, now, out=np.zeros_like(now), where=now > 1e-12)
        b = -ratio
        b[np.diag_indices(n)] = ratio.sum(axis=1)
        moved = b @ points / n
        settled = float(np.abs(moved - points).max()) < 1e-4 * (float(distances.max()) or 1.0)
        points = moved
        if settled:
            break
    return points


def _turned(points: Array) -> Array:
    """Widest from left to right; of the mirror images the one with more to the left and to the bottom."""
    centred = points - points.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    out: Array = centred @ vectors[:, ::-1]
    for axis in (0, 1):
        lean = float((out[:, axis] ** 3).sum())
        if lean < 0 or (math.isclose(lean, 0.0, abs_tol=1e-9) and out[0, axis] > 0):
            out[:, axis] *= -1
    return out
