"""Nine-step evaluation. What is measured on test days is measured here; figures of forecasts look at them too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdsearch.data import Dataset, Windows
from kdsearch.data.dataset import Part
from kdsearch.training.metrics import scores

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Forecaster", "evaluate", "evaluate_windows", "forecast", "forecast_days"]


class Forecaster(Protocol):
    """Anything that forecasts z-scored windows ``[B, n_his, N] -> [B, steps, N]``."""

    def roll_out(self, x: Tensor, steps: int, start: Tensor | None = None) -> tuple[Tensor, object]:
        """Forecasts, and whatever else the forecaster gives; ``start [B]`` is the step of the day of ``x``'s first."""


@torch.no_grad()
def forecast(model: Forecaster, windows: Windows, steps: int, batch: int = 256) -> Tensor:
    """Roll-out forecasts of every window in time order, in mph, ``[W, steps, N]``."""
    out = []
    index = torch.arange(len(windows), device=windows.device)
    for part in index.split(batch):
        day, start = windows.locate(part)
        y, _ = model.roll_out(windows.inputs(day, start), steps, start)
        out.append(windows.denormalise(y))
    return torch.cat(out)


def forecast_days(model: Forecaster, dataset: Dataset, part: Part) -> dict[int, NDArray[np.float64]]:
    """Forecasts of whole days at the time they are for: by minutes ahead, in mph, ``[D, S, N]``.

    NaN where no window reaches, which begin and end within a day.
    """
    windows = Windows(dataset, part)
    found = forecast(model, windows, max(dataset.horizons)).numpy().astype(np.float64)
    lines = {}
    for step, minutes in dataset.horizons.items():
        ahead = found[:, step - 1].reshape(-1, windows.per_day, dataset.n_nodes)
        line = np.full((len(ahead), dataset.steps_per_day, dataset.n_nodes), np.nan)
        first = dataset.n_his + step - 1
        line[:, first : first + windows.per_day] = ahead
        lines[minutes] = line
    return lines


def evaluate_windows(model: Forecaster, windows: Windows, horizons: Mapping[int, int]) -> dict[str, float]:
    """The nine figures of ``model`` on ``windows`` (keys as in :func:`kdsearch.training.metrics.scores`)."""
    steps = max(horizons)
    index = torch.arange(len(windows), device=windows.device)
    truth, valid = windows.targets(*windows.locate(index), steps=steps)
    # [windows, run = 1, steps, N], without the steps where there is one
    truth = truth.reshape(len(windows), steps, -1)
    valid = None if valid is None else valid.reshape(truth.shape)
    return scores(forecast(model, windows, steps), windows.denormalise(truth), valid, horizons)


def evaluate(model: Forecaster, dataset: Dataset, part: Part, device: str = "cpu") -> dict[str, float]:
    """The nine figures on a part of the data: ``"validation"``, or ``"test"`` once everything is chosen."""
    return evaluate_windows(model, Windows(dataset, part, device), dataset.horizons)
