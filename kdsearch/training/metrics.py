"""The nine figures of every table: MAE, RMSE in mph and MAPE in percent at three horizons (SPEC section 3)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["METRICS", "score", "scores"]

METRICS = ("mae", "rmse", "mape")


def scores(prediction: Tensor, truth: Tensor, valid: Tensor | None, horizons: Mapping[int, int]) -> dict[str, float]:
    """Errors of roll-out forecasts.

    Args:
        prediction: forecasts in mph, ``[W, steps, N]``.
        truth: readings in mph, same shape.
        valid: which readings exist, same shape; ``None`` if all do.
        horizons: step (counted from 1) to minutes, e.g. ``{3: 15, 6: 30, 9: 45}``.

    Returns:
        ``{"mae_15": ..., "rmse_15": ..., "mape_15": ..., "mae_30": ...}``. MAPE is ``mean(|e| / (v + 1e-5))`` in
        percent. Sums are taken in float64. A figure is NaN where nothing was predicted or read.
    """
    out: dict[str, float] = {}
    for step, minutes in horizons.items():
        v = truth[:, step - 1].double()
        e = prediction[:, step - 1].double() - v
        if valid is not None:
            keep = valid[:, step - 1]
            v, e = v[keep], e[keep]
        absolute = e.abs()
        figures = torch.stack((absolute.mean(), e.square().mean().sqrt(), 100 * (absolute / (v + 1e-5)).mean()))
        out.update({f"{m}_{minutes}": x for m, x in zip(METRICS, figures.tolist(), strict=True)})
    return out


def score(figures: Mapping[str, float]) -> float:
    """What every search minimises: the mean of the MAEs over the horizons (SPEC section 3, model selection)."""
    maes = [x for name, x in figures.items() if name.startswith("mae_")]
    return sum(maes) / len(maes)
