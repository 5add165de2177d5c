"""Windows over one part of a dataset, resident on a device and gathered by index."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kdsearch.data.dataset import Dataset, Part

__all__ = ["Windows"]


def _fill(days: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Carry the last reading of the same day forward into gaps; 0 (the mean) where there is none yet."""
    step = np.arange(days.shape[1])[None, :, None]
    last = np.maximum.accumulate(np.where(valid, step, -1), axis=1)
    carried = np.take_along_axis(days, np.maximum(last, 0), axis=1)
    filled: np.ndarray = np.where(last >= 0, carried, np.float32(0.0))
    return filled


class Windows:
    """One part of a dataset on a device; a window never crosses midnight and none is ever stored.

    Window ``i`` lies on day ``i // per_day`` and starts at step ``i % per_day``. A *run* of ``r`` consecutive windows
    is one longer input, which the time-equivariant network answers with ``r`` outputs.

    Attributes:
        days: z-scored speeds, float32 ``[D, S, N]``; a missing reading holds the day's last one, else 0.
        valid: bool ``[D, S, N]``, or None if every reading is there.
        per_day: windows in one day.
        mean: mean of the training windows, mph.
        std: their standard deviation, mph.
    """

    def __init__(self, dataset: Dataset, part: Part, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.mean, self.std = dataset.mean, dataset.std
        self.n_his, self.n_pred = dataset.n_his, dataset.n_pred
        self.per_day = dataset.windows_per_day
        speeds = dataset.days(part)
        valid = ~np.isnan(speeds)
        scored = ((speeds.astype(np.float64) - self.mean) / self.std).astype(np.float32)
        whole = bool(valid.all())
        self.days: Tensor = torch.from_numpy(scored if whole else _fill(scored, valid)).to(self.device)
        self.valid: Tensor | None = None if whole else torch.from_numpy(valid).to(self.device)

    def __len__(self) -> int:
        return self.days.shape[0] * self.per_day

    def locate(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Day and start step of windows: ``index [B]`` -> ``(day [B], start [B])``."""
        return torch.div(index, self.per_day, rounding_mode="floor"), index % self.per_day

    def inputs(self, day: Tensor, start: Tensor, run: int = 1) -> Tensor:
        """Histories of ``run`` consecutive windows from ``start``: ``[B, n_his + run - 1, N]``, z-scored."""
        return _gather(self.days, day, start, self.n_his + run - 1)

    def targets(self, day: Tensor, start: Tensor, run: int = 1, steps: int = 1) -> tuple[Tensor, Tensor | None]:
        """What follows each of ``run`` consecutive windows, ``steps`` ahead.

        Returns:
            Values ``[B, run, N]`` if ``steps`` is 1, else ``[B, run, steps, N]``, z-scored; and their validity in the
            same shape, None if every reading is there.
        """
        valid = None if self.valid is None else self._ahead(self.valid, day, start, run, steps)
        return self._ahead(self.days, day, start, run, steps), valid

    def denormalise(self, z: Tensor) -> Tensor:
        """Z-scores to mph."""
        return z * self.std + self.mean

    def _ahead(self, source: Tensor, day: Tensor, start: Tensor, run: int, steps: int) -> Tensor:
        taken = _gather(source, day, start + self.n_his, run + steps - 1)
        return taken if steps == 1 else taken.unfold(1, steps, 1).transpose(2, 3)


def _gather(source: Tensor, day: Tensor, start: Tensor, length: int) -> Tensor:
    """Steps ``start .. start + length - 1`` of ``day``: ``[D, S, N] -> [B, length, N]``.

    Indexing an unfolded view has the index checked against the day (on CUDA by a device assertion, so without a wait
    for it): a start that would read past midnight is an error, never the next day's readings.
    """
    view = source.unfold(1, length, 1).transpose(2, 3)
    return view[day.to(source.device), start.to(source.device)]
