"""The usual day of every sensor: what its speed is at a time of day, as a Fourier series of the training days."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["HARMONICS", "scored_day", "usual_series"]

# Down to an hour and a half: with fewer, rush hours are blurred; with more, the noise of a few days is followed.
HARMONICS = 16
# Of the readings: leaves a sensor without readings for hours a flat line there, and the others theirs.
_RIDGE = 1e-3


def usual_series(days: NDArray[np.float64], harmonics: int = HARMONICS) -> NDArray[np.float32]:
    """Least-squares coefficients of ``1, sin, cos, sin 2, cos 2, ...`` of the day's angle, for every sensor.

    Args:
        days: ``[D, S, N]``, NaN where a reading is missing; every sensor has one.
        harmonics: how many periods, at most as many as the steps of a day can tell.

    Returns:
        float32 ``[2 H + 1, N]`` in the unit of the days.
    """
    steps = days.shape[1]
    basis = _basis(steps, min(harmonics, (steps - 1) // 2))
    there = ~np.isnan(days)
    count, total = there.sum(axis=0), np.where(there, days, 0.0).sum(axis=0)  # [S, N]
    mean = total.sum(axis=0) / count.sum(axis=0)
    gram = np.einsum("si,sn,sj->nij", basis, count, basis)
    ridge = _RIDGE * count.sum(axis=0)[:, None, None] * np.eye(basis.shape[1])
    ridge[:, 0, 0] = 0.0  # the level is not shrunk
    right = np.einsum("si,sn->ni", basis, total - count * mean)
    series = np.linalg.solve(gram + ridge, right[..., None])[..., 0].T
    series[0] += mean
    return series.astype(np.float32)


def scored_day(series: NDArray[np.float32], steps: int, mean: float, std: float) -> NDArray[np.float32]:
    """The day ``[S, N]`` that :func:`usual_series` describes, z-scored, at ``steps`` times from 00:00 on."""
    day = _basis(steps, len(series) // 2) @ series.astype(np.float64)
    return ((day - mean) / std).astype(np.float32)


def _basis(steps: int, harmonics: int) -> NDArray[np.float64]:
    angle = 2 * np.pi * np.arange(steps)[:, None] / steps * np.arange(1, harmonics + 1)
    waves = np.stack((np.sin(angle), np.cos(angle)), axis=-1).reshape(steps, -1)
    return np.concatenate((np.ones((steps, 1)), waves), axis=1)
