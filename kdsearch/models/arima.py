"""ARIMA, a classical row of Table 4: fitted by statsmodels, applied to windows as the linear map that it is."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdsearch.data import Windows
from kdsearch.errors import UserError

__all__ = ["ARIMA", "ORDER"]

# Li et al. (ICLR 2018) and most traffic papers after it: three lags, no differencing, one moving average.
ORDER = (3, 0, 1)


class ARIMA:
    """ARIMA of the order ``(p, d, q)``, one for each sensor, seeing no more than a window of ``n_his`` readings.

    The coefficients are the maximum of the exact Gaussian likelihood of the training days joined in time order. Given
    them, the best forecast from a window is affine in its readings, because the gains of the Kalman filter do not
    depend on the data. So each sensor's filter is run once on an empty window and on each unit window, and what comes
    out is the matrix that forecasts every window: ``coefficients [steps, n_his, N]`` and ``intercept [steps, N]``.

    Args:
        windows: training windows.
        steps: how many steps ahead it will be asked for.
        order: ``(p, d, q)``.
        begun: weights ``[steps, n_his, k]`` and intercepts ``[steps, k]`` of the first k sensors, from an earlier fit.
        on_sensor: told after each sensor the same of all sensors that are done.

    Raises:
        UserError: statsmodels is not installed.
    """

    def __init__(
        self,
        windows: Windows,
        steps: int,
        order: tuple[int, int, int] = ORDER,
        begun: tuple[Tensor, Tensor] | None = None,
        on_sensor: Callable[[Tensor, Tensor], None] | None = None,
    ) -> None:
        days = windows.days.double().cpu().numpy()
        series = days.reshape(-1, days.shape[-1]).copy()
        if windows.valid is not None:
            series[~windows.valid.cpu().numpy().reshape(series.shape)] = np.nan
        n = series.shape[1]
        weight = np.empty((steps, windows.n_his, n))
        intercept = np.empty((steps, n))
        done = 0 if begun is None else begun[0].shape[2]
        if begun is not None:
            weight[:, :, :done], intercept[:, :done] = begun[0].numpy(), begun[1].numpy()
        for i in range(done, n):
            weight[:, :, i], intercept[:, i] = _affine(series[:, i], windows.n_his, steps, order)
            if on_sensor is not None:
                on_sensor(torch.tensor(weight[:, :, : i + 1]), torch.tensor(intercept[:, : i + 1]))
        self.coefficients = torch.from_numpy(weight).to(windows.days)
        self.intercept = torch.from_numpy(intercept).to(windows.days)

    @classmethod
    def of(cls, coefficients: Tensor, intercept: Tensor) -> ARIMA:
        """One that was fitted before."""
        made = cls.__new__(cls)
        made.coefficients, made.intercept = coefficients, intercept
        return made

    def roll_out(self, x: Tensor, steps: int, start: Tensor | None = None) -> tuple[Tensor, None]:
        """``[B, n_his, N] -> [B, steps, N]``, z-scored, whatever the time of day."""
        return torch.einsum("shn,bhn->bsn", self.coefficients[:steps], x) + self.intercept[:steps], None


def _affine(
    series: NDArray[np.float64], n_his: int, steps: int, order: tuple[int, int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights ``[steps, n_his]`` and intercept ``[steps]`` of one sensor's forecasts."""
    try:
        from statsmodels.tsa.arima.model import ARIMA as Model
    except ImportError:
        raise UserError("ARIMA needs statsmodels: pip install -e '.[reproduce]'") from None
    if np.nanstd(series) < 1e-9:  # a sensor that never changes: no likelihood to maximise
        return np.zeros((steps, n_his)), np.full(steps, np.nanmean(series))
    trend = "c" if order[1] == 0 else "n"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of starting values and convergence; the forecast shows what came out
        fitted = _fitted(Model(series, order=order, trend=trend), fast=order[1] == 0 and not np.isnan(series).any())
        model = Model(np.zeros(n_his), order=order, trend=trend)

        def forecast(window: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(model.clone(window).smooth(fitted.params).forecast(steps))

        empty = forecast(np.zeros(n_his))
        weights = np.stack([forecast(unit) - empty for unit in np.eye(n_his)], axis=1)
    return weights, empty


def _fitted(model: Any, fast: bool) -> Any:
    """The most likely parameters; ``fast`` by a method that needs a series without gaps or differences."""
    if fast:
        with contextlib.suppress(ValueError, ArithmeticError):  # on its way: a process that is not stationary
            return model.fit(method="innovations_mle")
    return model.fit(method="statespace")
