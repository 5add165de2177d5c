"""From raw readings to raw forecasts: normalisation, missing readings and the roll-out around a network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdsearch.data.site import Site
from kdsearch.models.stgcn import STGCN

__all__ = ["Forecaster"]


class Forecaster(nn.Module):
    """What is exported: readings in the site's unit go in, forecasts in the same unit come out.

    A missing reading (NaN, and 0 where the site says so) becomes the last one before it in the window, and the mean
    where there is none, as in training.

    Args:
        network: z-scored windows ``[B, n_his, N]`` to z-scored forecasts ``[B, n_pred, N]``; where it looks at the time
            of day, it is also given the step of the day of each first reading, ``[B]``.
        site: of the network.
    """

    def __init__(self, network: Callable[[Tensor, Tensor | None], Tensor], site: Site) -> None:
        super().__init__()
        self.network = network
        self.mean, self.std = site.mean / site.mph, site.std / site.mph
        self.n_his, self.zero_is_missing, self.minutes = site.n_his, site.missing == "zero", site.minutes

    @classmethod
    def of(cls, network: STGCN, site: Site) -> Forecaster:
        """That of a network as it was trained."""
        return cls(lambda z, start: network.roll_out(z, site.n_pred, start)[0], site).eval()

    def forward(self, readings: Tensor, minute: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``[B, n_his, N]`` to the next step ``[B, N]`` and all steps ``[B, n_pred, N]``.

        ``minute [B]``, of the day, is that of the last reading: for networks that look at the time of day.
        """
        missing = torch.isnan(readings)
        if self.zero_is_missing:
            missing = missing | (readings == 0)
        scored = (readings - self.mean) / self.std
        last = torch.zeros_like(scored[:, 0])
        filled = []
        for step in range(self.n_his):
            last = torch.where(missing[:, step], last, scored[:, step])
            filled.append(last)
        start = None if minute is None else minute // self.minutes - (self.n_his - 1)
        forecast = self.network(torch.stack(filled, dim=1), start) * self.std + self.mean
        return forecast[:, 0], forecast
