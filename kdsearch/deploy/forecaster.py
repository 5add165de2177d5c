"""From raw readings to raw forecasts: normalisation, missing readings and the roll-out around a network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdsearch.data.site import Site

__all__ = ["Forecaster"]


class Forecaster(nn.Module):
    """What is exported: readings in the site's unit go in, forecasts in the same unit come out.

    A missing reading (NaN, and 0 where the site says so) becomes the last one before it in the window, and the mean
    where there is none, as in training.

    Args:
        network: z-scored windows ``[B, n_his, N]`` to z-scored forecasts ``[B, n_pred, N]``.
        site: of the network.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], site: Site) -> None:
        super().__init__()
        self.network = network
        self.mean, self.std = site.mean / site.mph, site.std / site.mph
        self.n_his, self.zero_is_missing = site.n_his, site.missing == "zero"

    def forward(self, readings: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, n_his, N]`` to the next step ``[B, N]`` and all steps ``[B, n_pred, N]``."""
        missing = torch.isnan(readings)
        if self.zero_is_missing:
            missing = missing | (readings == 0)
        scored = (readings - self.mean) / self.std
        last = torch.zeros_like(scored[:, 0])
        filled = []
        for step in range(self.n_his):
            last = torch.where(missing[:, step], last, scored[:, step])
            filled.append(last)
        forecast = self.network(torch.stack(filled, dim=1)) * self.std + self.mean
        return forecast[:, 0], forecast
