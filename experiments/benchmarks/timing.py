"""Wall time of calls: of one, of many in a row, and of several sides in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

__all__ = ["clock", "median_ms", "medians"]

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


def medians(sides: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1) -> dict[str, float]:
    """Median seconds of one call of each side.

    In every repeat each side is called once, in turn: what disturbs the machine disturbs all sides alike.
    """
    for _ in range(warm_up):
        for call in sides.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, call in sides.items():
            seconds[name].append(clock(call)[1])
    return {name: statistics.median(values) for name, values in seconds.items()}
