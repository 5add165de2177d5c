"""Fronts of two objectives against the definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kdsearch.search.front import pareto_front, ranks, spread

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=14)


def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] <= b[1] and a != b


@given(POINTS)
def test_front_is_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    front = pareto_front(points, lambda p: p)
    assert set(front) == {p for p in points if not any(beats(q, p) for q in points)}
    assert len(front) == len(set(front))
    assert [p[1] for p in front] == sorted(p[1] for p in front)


@given(POINTS)
def test_ranks_by_peeling(points: list[tuple[int, int]]) -> None:
    left = list(enumerate(points))
    expected = {}
    rank = 0
    while left:
        now = [i for i, p in left if not any(beats(q, p) for _, q in left)]
        expected |= dict.fromkeys(now, rank)
        left = [(i, p) for i, p in left if i not in now]
        rank += 1
    assert ranks(points) == [expected[i] for i in range(len(points))]


def test_of_equals_the_first_stays() -> None:
    items = [("a", (1.0, 2.0)), ("b", (1.0, 2.0)), ("c", (0.5, 3.0))]
    assert [name for name, _ in pareto_front(items, lambda item: item[1])] == ["a", "c"]


@given(st.integers(0, 30), st.integers(1, 12))
def test_spread_keeps_the_ends_and_the_order(n: int, count: int) -> None:
    chosen = spread(range(n), count)
    assert len(chosen) == min(n, count)
    assert chosen == sorted(set(chosen))
    if n and count > 1:
        assert (chosen[0], chosen[-1]) == (0, n - 1)
