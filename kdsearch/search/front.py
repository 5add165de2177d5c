"""What two objectives make of a set: the front that nothing beats, and the fronts behind it. Both are minimised."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

__all__ = ["pareto_front", "ranks", "spread"]

T = TypeVar("T")


def pareto_front(items: Iterable[T], values: Callable[[T], tuple[float, float]]) -> list[T]:
    """The items that no other is as good as in both values and better in one; by the second value, ascending.

    Of items with the same values the first stays.
    """
    front: list[T] = []
    lowest = math.inf
    for item in sorted(items, key=lambda item: values(item)[::-1]):
        if values(item)[0] < lowest:
            lowest = values(item)[0]
            front.append(item)
    return front


def ranks(points: Sequence[tuple[float, float]]) -> list[int]:
    """Number of the front that each point lies on (non-dominated sorting): 0 for the first, 1 for the one behind."""
    found = [0] * len(points)
    left = set(range(len(points)))
    rank = 0
    while left:
        front = {i for i in left if not any(_beats(points[j], points[i]) for j in left)}
        for i in front:
            found[i] = rank
        left -= front
        rank += 1
    return found


def _beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a != b and a[0] <= b[0] and a[1] <= b[1]


def spread(items: Sequence[T], count: int) -> list[T]:
    """``count`` items at equal distances, both ends included; all of them if there are no more."""
    if len(items) <= count:
        return list(items)
    if count == 1:
        return [items[0]]
    return [items[round(k * (len(items) - 1) / (count - 1))] for k in range(count)]
