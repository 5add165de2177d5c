"""When a row is better than another: paired over the seeds, and never because of one lucky seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["LEVEL", "Sample", "better", "p_value", "winner"]

LEVEL = 0.05


@dataclass(frozen=True)
class Sample:
    """One figure of a row.

    Attributes:
        values: by seed, in the order of the seeds; a single one where nothing is random.
        seeded: whether other seeds would have given other values.
    """

    values: Sequence[float]
    seeded: bool = True

    @property
    def mean(self) -> float:
        """Over the seeds; NaN without values."""
        return statistics.fmean(self.values) if self.values else math.nan


def p_value(a: Sample, b: Sample) -> float | None:
    """Two-sided paired t-test over the seeds (``scipy.stats.ttest_rel``) that the means differ.

    A row without seeds has the same value with each of the other's. None where nothing can be tested: neither has
    seeds, or one has a single one.

    Raises:
        ValueError: both have seeds, but not the same number.
    """
    first, second = list(a.values), list(b.values)
    if (a.seeded and len(first) < 2) or (b.seeded and len(second) < 2) or not (a.seeded or b.seeded):
        return None
    if not a.seeded:
        first *= len(second)
    if not b.seeded:
        second *= len(first)
    differences = [x - y for x, y in zip(first, second, strict=True)]
    rounding = 1e-12 * max(map(abs, (*first, *second)))
    if max(differences) - min(differences) <= rounding:  # no deviation to divide by
        return 1.0 if max(map(abs, differences)) <= rounding else 0.0
    from scipy.stats import ttest_rel

    return float(ttest_rel(first, second).pvalue)


def better(a: Sample, b: Sample) -> bool:
    """Whether ``a`` is lower than ``b`` beyond the luck of seeds: p below 0.05.

    Between two rows without seeds the lower one is. A row with a single seed is never better nor beaten.
    """
    if not a.mean < b.mean:
        return False
    if not (a.seeded or b.seeded):
        return True
    p = p_value(a, b)
    return p is not None and p < LEVEL


def winner(samples: Mapping[str, Sample]) -> str | None:
    """The row that is better than each other one, None where there is none.

    Each comparison is tested at the full level: all of them must hold, which happens by luck no more often than one.
    """
    known = {key: s for key, s in samples.items() if s.values and math.isfinite(s.mean)}
    if len(known) < 2:
        return None
    best = min(known, key=lambda key: known[key].mean)
    return best if all(better(known[best], s) for key, s in known.items() if key != best) else None
