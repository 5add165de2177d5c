"""Classical forecasters: the rows that every neural one must beat (SPEC section 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from kdsearch.data import Windows

__all__ = ["CopyLast", "DampedDeviation", "HistoricalAverage", "RidgeAR"]


class CopyLast:
    """Forecasts every step as the last reading."""

    def roll_out(self, x: Tensor, steps: int, start: Tensor | None = None) -> tuple[Tensor, None]:
        """``[B, n_his, N] -> [B, steps, N]``, z-scored, whatever the time of day."""
        return x[:, -1:].expand(-1, steps, -1), None


class HistoricalAverage:
    """Forecasts the mean of the training days at that time of day, whatever was read last.

    A sensor without a reading at some time of day is forecast by its mean over all times.

    Args:
        windows: training windows.
    """

    def __init__(self, windows: Windows) -> None:
        days = windows.days.double()
        valid = torch.ones_like(days) if windows.valid is None else windows.valid.double()
        count, total = valid.sum(dim=0), (days * valid).sum(dim=0)  # [S, N]
        whole = total.sum(dim=0) / count.sum(dim=0).clamp(min=1)
        self.mean = torch.where(count > 0, total / count.clamp(min=1), whole).to(windows.days)

    def roll_out(self, x: Tensor, steps: int, start: Tensor | None = None) -> tuple[Tensor, None]:
        """``[B, n_his, N] -> [B, steps, N]``, z-scored, of windows that begin at steps ``start [B]`` of their day."""
        if start is None:
            raise ValueError("the historical average must be told at which step of the day its input starts")
        ahead = torch.arange(x.shape[1], x.shape[1] + steps, device=start.device)
        return self.mean[start[:, None] + ahead], None


class DampedDeviation:
    """Forecasts the usual day plus a share of how far the last reading was from it: damped anomaly persistence.

    The share, one for each sensor and step ahead, is fitted by least squares on the training days. It knows the time of
    day as networks of the recipe ``best`` do, and so is the simple forecast that they have to beat.

    Args:
        windows: training windows.
    """

    def __init__(self, windows: Windows) -> None:
        self.usual = HistoricalAverage(windows).mean  # [S, N]
        deviation = (windows.days - self.usual).double()  # [D, S, N]
        known = torch.ones_like(deviation) if windows.valid is None else windows.valid.double()
        deviation = deviation * known
        first = windows.n_his - 1  # the earliest reading that is the last of a window
        shares = []
        for k in range(1, windows.n_pred + 1):
            now, later = deviation[:, first:-k], deviation[:, first + k :]
            both = known[:, first:-k] * known[:, first + k :]
            power = (now.square() * both).sum(dim=(0, 1))
            shares.append(torch.where(power > 0, (now * later).sum(dim=(0, 1)) / power.clamp(min=1e-12), 0.0))
        self.shares = torch.stack(shares).to(windows.days)  # [n_pred, N]

    def roll_out(self, x: Tensor, steps: int, start: Tensor | None = None) -> tuple[Tensor, None]:
        """``[B, n_his, N] -> [B, steps, N]``, z-scored, of windows that begin at steps ``start [B]`` of their day."""
        if start is None:
            raise ValueError("this forecast must be told at which step of the day its input starts")
        last = start + x.shape[1] - 1
        ahead = torch.arange(1, steps + 1, device=start.device)
        deviation = x[:, -1] - self.usual[last]
        return self.usual[last[:, None] + ahead] + self.shares[:steps] * deviation[:, None], None


class RidgeAR:
    """Autoregression of the window's ``n_his`` readings on the next one, rolled out like the networks.

    Every sensor has coefficients and an intercept of its own, fitted in float64 by ridge regression (Hoerl & Kennard
    1970) on the training windows, the penalty spreading over coefficients only.

    Args:
        windows: training windows.
        penalty: ridge penalty relative to the number of windows.
    """

    def __init__(self, windows: Windows, penalty: float = 1e-3) -> None:
        n_his = windows.n_his
        # [W, n_his + 1, N] would be 13 copies of the data: sum the moments day by day instead.
        n = windows.days.shape[-1]
        moments = torch.zeros(n, n_his + 2, n_his + 2, dtype=torch.float64)
        for d in range(windows.days.shape[0]):
            day = windows.days[d].double().cpu()  # [S, N]
            taps = day.unfold(0, n_his + 1, 1).permute(1, 0, 2)  # [N, S - n_his, n_his + 1]
            ones = torch.ones(*taps.shape[:2], 1, dtype=torch.float64)
            rows = torch.cat((ones, taps), dim=-1)
            if windows.valid is not None:
                keep = windows.valid[d].cpu()[n_his:].t().unsqueeze(-1)
                rows = rows * keep
            moments += rows.transpose(1, 2) @ rows
        gram, rhs = moments[:, :-1, :-1], moments[:, :-1, -1:]
        ridge = torch.full((n_his + 1,), penalty, dtype=torch.float64)
        ridge[0] = 0.0
        ridge = torch.diag(ridge) * gram[:, :1, :1]
        # A sensor without a single valid target would give a singular system; it then forecasts the mean.
        ridge = ridge + 1e-12 * torch.eye(n_his + 1, dtype=torch.float64)
        solution = torch.linalg.solve(gram + ridge, rhs)[..., 0].to(windows.days)
        self.intercept, self.coefficients = solution[:, 0], solution[:, 1:].t()  # [N], [n_his, N]

    def roll_out(self, x: Tensor, steps: int, start: Tensor | None = None) -> tuple[Tensor, None]:
        """``[B, n_his, N] -> [B, steps, N]``, z-scored, whatever the time of day."""
        seen = x
        for _ in range(steps):
            window = seen[:, -x.shape[1] :]
            forecast = (window * self.coefficients).sum(dim=1, keepdim=True) + self.intercept
            seen = torch.cat((seen, forecast), dim=1)
        return seen[:, x.shape[1] :], None
