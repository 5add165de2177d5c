"""How much every stage takes from every layer: known before training starts, since only counts decide it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kdsearch.errors import UserError

__all__ = ["TOLERANCE", "Counts", "Schedule", "make_schedule"]

Counts = tuple[int, ...]

# The pruned share may miss its target by one percentage point (SPEC section 5).
TOLERANCE = 0.01

# So many layers are few enough to try every combination of them.
_FEW = 8


@dataclass(frozen=True)
class Schedule:
    """The stages of one pruning.

    Attributes:
        stages: channels (or weights) left in each layer after each stage.
        sizes: parameters left after each stage.
        full: parameters that count as 100%.
        target: share of ``full`` to keep.
        warning: what to tell if the target is missed by more than :data:`TOLERANCE`, else empty.
    """

    stages: tuple[Counts, ...]
    sizes: tuple[int, ...]
    full: int
    target: float
    warning: str = ""


def make_schedule(
    widths: Sequence[int],
    size: Callable[[Counts], int],
    percent: float,
    stage_percent: float,
    full: int | None = None,
    unreachable: str = "error",
) -> Schedule:
    """Plan the stages of Algorithm 1: after k of them, ``(1 - n%)^k`` of each layer is left.

    That share is rounded to the nearest count, at least one: a fraction that one stage cannot take is taken by a later
    one, so that layers of few channels keep pace (reading). The last stage takes the same share from every layer, as
    much as brings the whole nearest to the target; where that misses by more than half a point, since layers of equal
    width lose channels at the same time, as few layers as possible keep or lose one channel more.

    Args:
        widths: channels or weights of each layer.
        size: parameters of the network with these counts; it must not grow when a count falls.
        percent: of ``full`` to take away.
        stage_percent: n, the share of what is left that a stage takes from each layer.
        full: parameters that count as 100%; default: of the network itself.
        unreachable: ``"error"`` refuses a target that cannot be met, ``"nearest"`` goes as near as it can and warns.

    Raises:
        UserError: the network is already smaller than the target, or the target is out of reach.
    """
    start = tuple(widths)
    whole = size(start)
    full = whole if full is None else full
    target = 1.0 - percent / 100.0
    wanted = target * full
    if whole <= wanted:
        raise UserError(
            f"the network has {whole:,} parameters, already no more than the {wanted:,.0f} that pruning {percent:g}% "
            f"of {full:,} leaves: prune more, or start from a larger network"
        )
    near = _one_share(start, size, wanted)
    stages = list(_full_stages(start, near, 1.0 - stage_percent / 100.0))
    final = near
    if abs(size(near) - wanted) > 0.5 * TOLERANCE * full and len(start) <= _FEW:
        # A layer may not grow again, so a last stage that starts earlier can end where a later one cannot.
        for done in range(len(stages), -1, -1):
            most = stages[done - 1] if done else start
            final = _one_more_or_less(near, most, size, wanted, 0.5 * TOLERANCE * full)
            if abs(size(final) - wanted) <= TOLERANCE * full:
                stages = stages[:done]
                break
        else:
            final = _one_more_or_less(near, stages[-1] if stages else start, size, wanted, 0.0)
    warning = ""
    if abs(size(final) - wanted) > TOLERANCE * full:
        warning = _missed(size(final), size(_left(start, 0.0)), percent, full)
        if unreachable == "error":
            raise UserError(f"{warning}; prune less, or allow the nearest share")
    if final != (stages[-1] if stages else start):
        stages.append(final)
    return Schedule(tuple(stages), tuple(size(c) for c in stages), full, target, warning)


def _missed(reached: int, least: int, percent: float, full: int) -> str:
    why = "one channel stays in every layer" if reached == least else "a channel is a larger step than that"
    return (
        f"pruning {percent:g}% of {full:,} parameters cannot keep {100 - percent:g}% within one point: the nearest is "
        f"{100 * reached / full:.2f}% ({why})"
    )


def _left(start: Counts, share: float) -> Counts:
    return tuple(max(1, math.floor(width * share + 0.5)) for width in start)


def _full_stages(start: Counts, near: Counts, rest: float) -> Iterator[Counts]:
    """The stages that leave no layer less than ``near`` and are not yet there; each leaves the share ``rest``."""
    for k in itertools.count(1):
        counts = _left(start, rest**k)
        if counts == near or any(a < b for a, b in zip(counts, near, strict=True)):
            return
        yield counts


def _one_share(start: Counts, size: Callable[[Counts], int], wanted: float) -> Counts:
    """The counts nearest to the wanted size among those that leave one share of every layer."""
    few, many = 0.0, 1.0
    while few < (middle := 0.5 * (few + many)) < many:
        few, many = (middle, many) if size(_left(start, middle)) <= wanted else (few, middle)
    return min(_left(start, few), _left(start, many), key=lambda counts: abs(size(counts) - wanted))


def _one_more_or_less(
    near: Counts, most: Counts, size: Callable[[Counts], int], wanted: float, enough: float
) -> Counts:
    """Counts whose layers differ from ``near`` by one at most: the fewest that miss by ``enough``, else the nearest."""
    around = [[c for c in (n - 1, n, n + 1) if 1 <= c <= top] for n, top in zip(near, most, strict=True)]

    def cost(counts: Counts) -> tuple[bool, float, float]:
        moved = sum(abs(a - b) for a, b in zip(counts, near, strict=True))
        miss = abs(size(counts) - wanted)
        return (False, moved, miss) if miss <= enough else (True, miss, moved)

    return min(itertools.product(*around), key=cost)
