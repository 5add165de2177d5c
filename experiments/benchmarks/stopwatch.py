"""Wall time of repeated calls."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["clock", "median_ms"]

T = TypeVar("T")

_LEAST, _MOST = 3, 200


def clock(call: Callable[[], T]) -> tuple[T, float]:
    """What a call gives, and the seconds it took."""
    began = time.perf_counter()
    found = call()
    return found, time.perf_counter() - began


def median_ms(call: Callable[[], object], seconds: float, warm_up: int = 2) -> float:
    """Median milliseconds of a call over about so many seconds, between 3 and 200 of them, after a warm-up."""
    for _ in range(warm_up):
        call()
    taken: list[float] = []
    while len(taken) < _LEAST or (sum(taken) < seconds and len(taken) < _MOST):
        taken.append(clock(call)[1])
    return 1e3 * statistics.median(taken)
