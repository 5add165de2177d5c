"""From values to places on an axis, and the round numbers that stand along it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Axis", "Categories", "Scale", "Tick", "short", "span_of"]

_NEAR = 1e-9


class Tick(NamedTuple):
    """A place along an axis, in drawing units, and what stands there."""

    at: float
    label: str


def short(value: object) -> str:
    """A value of a hyperparameter as a reader wants it: four digits are enough to set it by."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,d}" if isinstance(value, int) else f"{value:.4g}"


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic axis.

    Attributes:
        low, high: values at its ends; equal ones are set apart.
        start, end: where the ends are drawn.
        log: whether equal ratios are equal lengths; both ends must then be above 0.
        whole: ticks at whole numbers only.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    whole: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; one beyond an end stands at that end."""
        low, high, at = self.low, self.high, float(value)
        if not math.isfinite(at):
            return math.nan
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(max(at, low / 2, 1e-300))
        share = 0.5 if high <= low else min(1.0, max(0.0, (at - low) / (high - low)))
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[Tick]:
        """Round values within the axis, at most about so many."""
        values = _log_values(self.low, self.high, most) if self.log else self._linear(most)
        return [Tick(self(v), _label(v, values)) for v in values]

    def _linear(self, most: int) -> list[float]:
        if self.high <= self.low:
            return [self.low]
        rough = (self.high - self.low) / max(most, 1)
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * k for k in (1, 2, 5, 10) if unit * k >= rough * (1 - _NEAR))
        if self.whole:
            step = max(1.0, float(math.ceil(step - _NEAR)))
        first = math.ceil(self.low / step - _NEAR)
        return [k * step for k in range(first, math.floor(self.high / step + _NEAR) + 1)]


def _log_values(low: float, high: float, most: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for mantissas in ((1,), (1, 3), (1, 2, 5)):
        values = [m * 10.0**k for k in decades for m in mantissas]
        fitting = [v for v in values if low * (1 - _NEAR) <= v <= high * (1 + _NEAR)]
        if len(fitting) > most:
            found = found or fitting[:: math.ceil(len(fitting) / most)]
            break
        found = fitting
    # Within less than a factor of two there may be none: then linear values serve.
    return found if len(found) > 1 else Scale(low, high, 0, 1)._linear(most)


def _label(value: float, among: Sequence[float]) -> str:
    sizes = [abs(v) for v in among if v]
    if value and (max(sizes) >= 1e6 or min(sizes) < 1e-4):
        mantissa, exponent = f"{value:.5e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{round(value, 10) + 0.0:,.6g}"  # adding 0 makes of -0 a 0


@dataclass(frozen=True)
class Categories:
    """An axis of values that have no distance between them.

    Attributes:
        values: in order.
        start, end: where the axis is drawn; values stand in the middle of equal parts of it.
    """

    values: tuple[object, ...]
    start: float
    end: float

    def __call__(self, value: object) -> float:
        """The place of a value; of one that is not on the axis NaN."""
        if value not in self.values:
            return math.nan
        return self.start + (self.values.index(value) + 0.5) / len(self.values) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[Tick]:
        """All values, or of many every second, third, ..."""
        step = math.ceil(len(self.values) / max(most, 1))
        return [Tick(self(v), short(v)) for v in self.values[::step]]


Axis = Scale | Categories


def span_of(values: Iterable[float], room: float = 0.05) -> tuple[float, float]:
    """Lowest and highest finite value with some room beyond both; ``(0, 1)`` where there is none."""
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    more = room * (high - low) if high > low else (abs(low) or 1.0) * 0.05
    return low - more, high + more
