"""Peaks, rates, memory and launches of a device, the CPU being one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from experiments.benchmarks import memory

__all__ = ["Peak", "launches", "name_of", "peak_bandwidth", "peak_flops", "rate", "synchronised"]

_PROFILED = 3  # updates


def name_of(device: torch.device) -> str:
    """The GPU's name, or how many threads of the CPU torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def synchronised(call: Callable[[], object], device: torch.device) -> Callable[[], None]:
    """The call, waiting until the device has done it."""

    def run() -> None:
        call()
        wait(device)

    return run


def wait(device: torch.device) -> None:
    """Until all that was launched is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(call: Callable[[], object], seconds: float, device: torch.device, warm_up: int = 5) -> float:
    """Calls a second over so many seconds, without waiting for the device between them."""
    for _ in range(warm_up):
        call()
    wait(device)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(5):
            call()
        done += 5
        wait(device)  # or calls would queue far ahead of the clock
    return done / (time.perf_counter() - began)


def peak_bandwidth(device: torch.device) -> float:
    """Bytes a second of a copy between two tensors far larger than any cache; each byte counts as read and written."""
    numbers = 1 << (28 if device.type == "cuda" else 26)
    source, target = torch.ones(numbers, device=device), torch.empty(numbers, device=device)
    return 2 * 4 * numbers * rate(lambda: target.copy_(source), 0.5, device)


def peak_flops(device: torch.device) -> float:
    """Float32 operations a second of a large matrix product."""
    n = 8192 if device.type == "cuda" else 1024
    a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
    out = torch.empty(n, n, device=device)
    return 2 * n**3 * rate(lambda: torch.mm(a, b, out=out), 0.5, device)


class Peak:
    """The most memory from its making on, beyond what was held then."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
        else:
            memory.reset_peak()
            self._before = memory.resident()

    def bytes(self) -> int:
        """So far."""
        now = torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else memory.peak()
        return now - self._before


def launches(call: Callable[[], object], device: torch.device) -> dict[str, Any]:
    """What one call makes a device do, by ``torch.profiler``.

    Returns:
        On CUDA ``launches`` (calls that start a kernel or a graph) and ``kernels`` (that ran); on the CPU
        ``operators``, the outermost ones.
    """
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    call()
    wait(device)
    with profile(activities=activities) as profiler:
        for _ in range(_PROFILED):
            call()
        wait(device)
    events = list(profiler.events())
    if device.type == "cuda":
        starts = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch")
        return {
            "launches": sum(e.name.startswith(starts) for e in events) // _PROFILED,
            "kernels": sum(e.device_type == DeviceType.CUDA for e in events) // _PROFILED,
        }
    outermost = [e for e in events if e.name.startswith("aten::") and not _within_operator(e)]
    return {"operators": len(outermost) // _PROFILED}


def _within_operator(event: Any) -> bool:
    parent = event.cpu_parent
    while parent is not None:
        if parent.name.startswith("aten::"):
            return True
        parent = parent.cpu_parent
    return False
