"""Paired tests: the statistic by hand, and when a row may be called better."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from kdsearch.results.significance import Sample, better, p_value, winner

LOW = Sample([2.0, 2.1, 1.9, 2.05, 1.95])
HIGH = Sample([2.5, 2.65, 2.38, 2.55, 2.46])


def by_hand(a: list[float], b: list[float]) -> float:
    d = [x - y for x, y in zip(a, b, strict=True)]
    mean = sum(d) / len(d)
    deviation = math.sqrt(sum((x - mean) ** 2 for x in d) / (len(d) - 1))
    t = mean / (deviation / math.sqrt(len(d)))
    return 2 * stats.t.sf(abs(t), len(d) - 1)


def test_statistic():
    assert p_value(LOW, HIGH) == pytest.approx(by_hand(LOW.values, HIGH.values), rel=1e-9)
    fixed = Sample([2.2], seeded=False)
    assert p_value(LOW, fixed) == pytest.approx(by_hand(LOW.values, [2.2] * 5), rel=1e-9)
    assert p_value(LOW, LOW) == 1.0


def test_seeds_are_paired():
    """A difference that every seed has counts, though the seeds differ by far more."""
    a, b = Sample([1.0, 5.0, 9.0, 3.0]), Sample([1.11, 5.1, 9.09, 3.1])
    assert better(a, b)
    assert not better(a, Sample([5.1, 9.09, 3.1, 1.11]))


def test_what_cannot_be_tested_is_no_winner():
    assert p_value(Sample([1.0]), Sample([2.0])) is None
    assert not better(Sample([1.0]), Sample([2.0]))
    assert not better(Sample([1.0]), Sample([2.0], seeded=False))
    assert better(Sample([1.0], seeded=False), Sample([2.0], seeded=False))
    with pytest.raises(ValueError, match="argument"):
        p_value(LOW, Sample([1.0, 2.0]))


def test_the_winner_beats_each_of_the_others():
    fixed = Sample([3.0], seeded=False)
    assert winner({"low": LOW, "high": HIGH, "fixed": fixed}) == "low"
    near = Sample([2.01, 2.08, 1.93, 2.02, 1.99])
    assert winner({"low": LOW, "high": HIGH, "near": near}) is None
    assert winner({"low": LOW}) is None
    assert winner({"low": LOW, "failed": Sample([])}) is None
    assert winner({"fixed": Sample([1.0], seeded=False), "low": LOW, "high": HIGH}) == "fixed"


def test_rounding_is_no_deviation():
    """A difference of 0.1 with every seed, to the last bit but one, has no deviation to divide by."""
    assert p_value(Sample([1.0, 1.1, 1.3]), Sample([1.1, 1.2, 1.4])) == 0.0
    assert p_value(Sample([0.1 + 0.2, 0.3]), Sample([0.3, 0.1 + 0.2])) == 1.0
    assert p_value(Sample([0.1 + 0.2, 0.1 + 0.2]), Sample([0.3, 0.3])) == 1.0
