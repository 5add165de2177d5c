"""How far the forecasts of an exported file lie from those of the trained network."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import numpy as np
import torch

from kdsearch.data.dataset import MINUTES_PER_DAY
from kdsearch.data.site import Site
from kdsearch.deploy.forecaster import Forecaster
from kdsearch.deploy.models import Model
from kdsearch.deploy.student import Student
from kdsearch.models.stgcn import STGCN

__all__ = ["TOLERANCE", "Agreement", "agreement", "minutes_like", "readings_like"]

# Most that a file may differ by from PyTorch in double precision, in standard deviations of the training speeds ...
TOLERANCE = 1e-5
# ... or as a multiple of what PyTorch's own single precision differs by, where that is more.
_ROUNDINGS = 5.0
_BATCHES = (1, 2, 7)


class Agreement(NamedTuple):
    """Largest differences from the trained network in double precision, in standard deviations of the training speeds.

    Attributes:
        next: one step ahead, of the file.
        forecast: over all steps, of the file.
        next_rounding, forecast_rounding: the same of PyTorch in single precision: some networks enlarge roundings
            in the feedback of their forecasts, whoever computes them.
    """

    next: float
    forecast: float
    next_rounding: float
    forecast_rounding: float

    @property
    def holds(self) -> bool:
        """Whether roundings explain the differences."""
        pairs = ((self.next, self.next_rounding), (self.forecast, self.forecast_rounding))
        return all(found <= max(TOLERANCE, _ROUNDINGS * rounding) for found, rounding in pairs)


def agreement(student: Student, model: Model) -> Agreement:
    """Compare a file with its network on made-up readings, for several sizes of batch."""
    network, site = student
    exact, single = Forecaster.of(copy.deepcopy(network).double(), site), Forecaster.of(network, site)
    worst = np.zeros((2, 2))
    for batch in _BATCHES:
        readings, minute = readings_like(site, batch), minutes_like(network, batch)
        told = None if minute is None else torch.from_numpy(minute)
        with torch.no_grad():
            truth = [y.numpy() for y in exact(torch.from_numpy(readings).double(), told)]
            rounded = [y.numpy() for y in single(torch.from_numpy(readings), told)]
        for i, found in enumerate((model.run(readings, minute), rounded)):
            worst[i] = np.maximum(worst[i], [_largest(y, t) for y, t in zip(found, truth, strict=True)])
    return Agreement(*(float(w) for w in (worst / (site.std / site.mph)).ravel()))


def readings_like(site: Site, batch: int) -> np.ndarray:
    """Made-up readings ``[batch, n_his, N]`` float32 in the site's unit that move as speeds do, some of them missing.

    From a fixed seed.
    """
    draw = np.random.default_rng(0)
    shape = (batch, site.n_his, site.n_nodes)
    level = 0.7 * draw.standard_normal((batch, 1, 1)) + 0.3 * draw.standard_normal((batch, 1, site.n_nodes))
    moved = 0.1 * draw.standard_normal(shape).cumsum(axis=1)
    speeds = (site.mean + site.std * (level + moved)).clip(min=1.0) / site.mph
    gaps = draw.random(shape) < 0.05
    gaps[0, :, 0] = True  # a sensor without any reading
    speeds[gaps] = 0.0 if site.missing == "zero" else np.nan
    return speeds.astype(np.float32)


def minutes_like(network: STGCN, batch: int) -> np.ndarray | None:
    """Minutes of the day ``[batch]`` for :func:`readings_like`, midnight among them; None if the network needs none."""
    if not network.layout.calendar:
        return None
    return np.linspace(0, MINUTES_PER_DAY - 1, batch).round().astype(np.int64)


def _largest(found: np.ndarray, truth: np.ndarray) -> float:
    if found.shape != truth.shape:
        return math.inf
    largest = float(np.abs(found - truth).max())
    return largest if math.isfinite(largest) else math.inf
