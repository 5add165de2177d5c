"""How long a network takes to forecast."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from kdsearch.models.stgcn import STGCN

__all__ = ["BATCH", "RUNS", "Timing", "forward_time"]

# As the paper measures its test time: mean of so many passes over a batch of so many windows.
BATCH = 1140
RUNS = 100


@dataclass(frozen=True)
class Timing:
    """Wall time of one forward pass over a batch.

    Attributes:
        mean, median: in seconds.
        runs: how many passes were timed.
        batch: windows in each.
    """

    mean: float
    median: float
    runs: int
    batch: int


@torch.no_grad()
def forward_time(model: STGCN, batch: int = BATCH, runs: int = RUNS) -> Timing:
    """Time one-step forecasts of ``batch`` random windows on the device that ``model`` is on.

    The clock stops when the device has finished. Two passes come before the first that counts.
    """
    device = model.graph_kernel.device
    x = torch.randn(batch, model.n_his, model.n_nodes, 1, generator=torch.Generator().manual_seed(0)).to(device)
    start = torch.zeros(batch, dtype=torch.long, device=device)
    training = model.training
    model.eval()
    seconds = []
    for _ in range(runs + 2):
        began = time.perf_counter()
        model(x, start)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    model.train(training)
    return Timing(statistics.fmean(seconds[2:]), statistics.median(seconds[2:]), runs, batch)
