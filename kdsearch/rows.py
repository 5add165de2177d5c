"""Numba kernels over rows, on as many threads as torch may use.

A kernel is a plain Python function over NumPy arrays that visits rows ``first..last``, the two last arguments. It is
compiled on first use, kept on disk, and runs without the GIL.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

__all__ = ["each_row", "usable"]

Array = np.ndarray[Any, Any]


@cache
def _available() -> bool:
    return find_spec("numba") is not None


def usable(x: torch.Tensor) -> bool:
    """Whether kernels can work on ``x``: float32 on the CPU, and Numba is installed."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and _available()


@cache
def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    numba: Any = import_module("numba")
    # No nnan or ninf: a diverged student must show as NaN.
    options = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz"}}
    try:
        compiled: Callable[..., None] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep the machine code in: compile again in every process
        compiled = numba.njit(**options)(function)
    return compiled


_lock = threading.Lock()


@cache
def _pool(pid: int, threads: int) -> ThreadPoolExecutor:
    """Helper threads; keyed by process, since threads do not survive a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix="kdsearch-kernel")


def each_row(function: Callable[..., None], n_rows: int, *arrays: Any) -> None:
    """Run a kernel over all rows, on as many threads as torch may use in this process.

    Every row is computed by one thread and no thread writes another's rows, so the result does not depend on timing.
    """
    kernel = _compiled(function)
    threads = max(1, min(torch.get_num_threads(), n_rows))
    if threads == 1:
        kernel(*arrays, 0, n_rows)
        return
    edges = [n_rows * k // threads for k in range(threads + 1)]
    with _lock:
        pool = _pool(os.getpid(), threads - 1)
    others = [pool.submit(kernel, *arrays, edges[k], edges[k + 1]) for k in range(1, threads)]
    kernel(*arrays, edges[0], edges[1])
    for other in others:
        other.result()
