"""In which order windows are drawn."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdsearch.data import Dataset
from kdsearch.training.settings import FitSettings

__all__ = ["shuffled_runs", "shuffled_windows", "updates_per_epoch"]


def updates_per_epoch(dataset: Dataset, settings: FitSettings) -> int:
    """How many minibatches one epoch has."""
    run, size = min(settings.run_length, dataset.windows_per_day), settings.batch_size
    days, per_day = dataset.split.train, dataset.windows_per_day
    if run == 1:
        return dataset.passes_per_epoch * math.ceil(days * per_day / size)
    return dataset.passes_per_epoch * math.ceil(days * (per_day // run) / max(1, size // run))


def shuffled_windows(n_windows: int, batch_size: int, order: torch.Generator) -> tuple[Tensor, ...]:
    """One pass over all windows in random order, as index batches ``[<= batch_size]`` on the CPU."""
    return torch.randperm(n_windows, generator=order).split(batch_size)


def shuffled_runs(
    days: int, windows_per_day: int, run: int, batch_size: int, order: torch.Generator
) -> tuple[Tensor, ...]:
    """One pass over runs of ``run`` consecutive windows, as batches of the runs' first windows.

    Each day is tiled from a random offset, so the cuts between runs move from pass to pass. A batch holds as many
    runs as make up ``batch_size`` windows, at least one.
    """
    run = min(run, windows_per_day)
    count, slack = divmod(windows_per_day, run)
    offsets = torch.randint(slack + 1, (days, 1), generator=order)
    starts = torch.arange(days)[:, None] * windows_per_day + offsets + torch.arange(count) * run
    shuffled = starts.flatten()[torch.randperm(days * count, generator=order)]
    return shuffled.split(max(1, batch_size // run))
