"""In which order windows are drawn."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdsearch.data import Dataset
from kdsearch.data.mixed import n_mixed
from kdsearch.training.settings import FitSettings

__all__ = ["mixed_days", "passes_per_epoch", "shuffled_runs", "shuffled_windows", "updates_per_epoch"]


def mixed_days(dataset: Dataset, settings: FitSettings) -> int:
    """How many mixed days are trained on beside those that were measured."""
    return n_mixed(dataset) if settings.mixed_days else 0


def passes_per_epoch(dataset: Dataset, settings: FitSettings) -> int:
    """How many passes over all days one epoch has; with mixed days there are as many more days."""
    return 1 if mixed_days(dataset, settings) else dataset.passes_per_epoch


def updates_per_epoch(dataset: Dataset, settings: FitSettings) -> int:
    """How many minibatches one epoch has."""
    run, size = min(settings.run_length, dataset.windows_per_day), settings.batch_size
    days, per_day = dataset.split.train + mixed_days(dataset, settings), dataset.windows_per_day
    passes = passes_per_epoch(dataset, settings)
    if run == 1:
        return passes * math.ceil(days * per_day / size)
    return passes * math.ceil(days * (per_day // run) / max(1, size // run))


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
