"""Operations and time of a network, for Table 1. A measurement is kept, so that a table printed again is the same."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from kdsearch import fingerprint
from kdsearch.models.stgcn import STGCN
from kdsearch.results.files import read_json, write_json
from kdsearch.training.latency import forward_time

__all__ = ["device_name", "operations", "timed"]


def operations(model: STGCN) -> int:
    """Floating-point operations of one forecast of one window, a multiplication and an addition counted as two.

    Counted by PyTorch while the network runs (``torch.utils.flop_counter``): matrix products, which is what nearly
    all are; elementwise operations are not in it. The graph product counts as the dense one that it is on paper. On
    the "meta" device, where nothing is computed and no CPU kernel hides a product from the counter.
    """
    shadow = model.like(model.layout).to("meta")
    x = torch.empty(1, model.n_his, model.n_nodes, 1, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow(x, torch.zeros(1, dtype=torch.long, device="meta"))
    return int(counter.get_total_flops())


def device_name(device: str) -> str:
    """What the time was measured on."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    threads = torch.get_num_threads()
    return f"{model}, {threads} thread{'s' if threads > 1 else ''}"


def timed(model: STGCN, batch: int, runs: int, device: str, cache: Path, measure: bool = True) -> dict[str, Any] | None:
    """``mean``, ``median`` in seconds of a pass over ``batch`` windows, ``runs`` and ``device``.

    None where it was not measured before and is not to be now.
    """
    name = device_name(device)
    what = {
        "layout": model.layout.plain(),
        "nodes": model.n_nodes,
        "batch": batch,
        "runs": runs,
        "device": name,
        "torch": torch.__version__,
    }
    path = cache / "reproduce" / f"time-{fingerprint.digest(what)}.json"
    if path.exists():
        return read_json(path, "a measured time")
    if not measure:
        return None
    found = forward_time(model.to(device), batch, runs)
    told = {"mean": found.mean, "median": found.median, "runs": found.runs, "batch": found.batch, "device": name}
    write_json(path, told)
    return told
