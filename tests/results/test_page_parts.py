"""Pieces of the page on their own: markup, scales, places, intervals, lanes."""

from __future__ import annotations

import itertools
import math
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsearch.results.page import trials, words
from kdsearch.results.page.layout import place
from kdsearch.results.page.markup import Markup, el, escape
from kdsearch.results.page.outcome import Row, half_interval
from kdsearch.results.page.reading import Trial
from kdsearch.results.page.scales import Categories, Scale


@given(st.text())
def test_escaped_text_comes_back_as_it_was(text):
    written = el("p", text, title=text)
    page = HTMLPage(written)
    shown = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    assert page.text == shown
    assert page.title == shown


class HTMLPage(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.title = "", ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.title = dict(attrs)["title"] or ""

    def handle_data(self, data: str) -> None:
        self.text += data


def test_markup_is_not_escaped_twice():
    assert el("p", el("b", "a & b"), None, escape("<")) == "<p><b>a &amp; b</b>&lt;</p>"
    assert (
        el("rect", x=1.25, data_t=3, class_="m", hidden=True, title=None)
        == '<rect x="1.2" data-t="3" class="m" hidden/>'
    )
    assert isinstance(escape("a"), Markup)


def trial(number: int, began: float, ended: float, worker: int | None = None) -> Trial:
    return Trial(number, "COMPLETE", {}, {}, 1.0, 1, 1, ended - began, began, ended, worker)


def test_lanes():
    overlapping = [trial(0, 0, 10), trial(1, 1, 4), trial(2, 4.5, 9), trial(3, 10, 12), trial(4, math.nan, 3)]
    assert trials.lanes(overlapping) == {0: 0, 1: 1, 2: 1, 3: 0}
    recorded = [trial(0, 0, 10, 7), trial(1, 1, 4, 3), trial(2, 11, 12, 3)]
    assert trials.lanes(recorded) == {0: 1, 1: 0, 2: 0}
    assert trials.lanes([]) == {}


def test_intervals():
    from scipy import stats

    values = [2.1, 2.5, 2.2, 2.9]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert half_interval(values) == pytest.approx((high - low) / 2)
    assert half_interval([2.0]) is None
    assert half_interval([2.0, 2.0]) == 0


def row(name: str, mean: float, std: float | None, winner: bool = False, size: int = 100) -> Row:
    horizons = (15, 30, 45)
    means, deviations = dict.fromkeys(horizons, mean), dict.fromkeys(horizons, std)
    return Row(name, size, winner, means, deviations, {m: [] for m in horizons})


@pytest.mark.parametrize(
    ("winner", "other", "said"),
    [
        ((2.0, 0.1), (2.5, 0.1), "20.0% better than the student without KD"),
        ((2.5, 0.1), (2.0, 0.1), "25.0% worse than the student without KD"),
        ((2.0, 0.3), (2.2, 0.3), "not to be told from the student without KD"),
        ((2.0, None), (2.2, None), "luck is not ruled out"),
    ],
)
def test_a_difference_is_called_one_only_if_seeds_differ_by_less(winner, other, said):
    rows = [row("student without KD", *other), row("winner", *winner, winner=True)]
    assert said in str(words.compared(rows, "student_none"))
    assert words.compared(rows, "student_control") is None
    assert words.compared(rows, "teacher") is None


def test_places_have_the_distances_they_were_made_from():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1000, (40, 2))
    points[7] = points[3]
    distances = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    found = place(distances)
    again = np.hypot(*(found[:, None] - found[None]).transpose(2, 0, 1))
    np.testing.assert_allclose(again, distances, atol=0.5)
    assert found.min() == pytest.approx(0)
    assert np.ptp(found[:, 0]) >= np.ptp(found[:, 1])
    np.testing.assert_array_equal(found, place(distances))


def test_places_of_parts_without_a_road_between_them():
    near = np.array([[0, 1, np.inf], [1, 0, 1], [np.inf, 1, 0]])  # a path: the far pair is 2 apart
    distances = np.full((7, 7), np.inf)
    distances[:3, :3] = near
    distances[3:5, 3:5] = [[0, 2], [2, 0]]
    found = place(distances)
    assert np.isfinite(found).all()
    assert np.hypot(*(found[0] - found[2])) == pytest.approx(2, abs=1e-3)
    assert np.hypot(*(found[3] - found[4])) == pytest.approx(2, abs=1e-6)
    spans = sorted((found[part, 0].min(), found[part, 0].max()) for part in ([0, 1, 2], [3, 4], [5], [6]))
    assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))
    assert place(np.zeros((1, 1))).tolist() == [[0, 0]]


@given(
    st.floats(-1e6, 1e6),
    st.floats(1e-6, 1e6),
    st.booleans(),
    st.integers(2, 10),
)
def test_ticks_lie_on_the_axis_in_order(low, width, log, most):
    low = abs(low) + 1e-6 if log else low
    high = low + max(width, abs(low) * 1e-6)
    scale = Scale(low, high, 0.0, 100.0, log=log)
    ticks = scale.ticks(most)
    places = [t.at for t in ticks]
    assert places == sorted(places)
    assert all(-1e-6 <= at <= 100 + 1e-6 for at in places)
    assert len(ticks) <= most + 2
    assert len({t.label for t in ticks}) == len(ticks) or width < 1e-3 * abs(low)
    assert scale(low) == pytest.approx(0)
    assert scale(high) == pytest.approx(100)
    assert scale(high + 1) == 100


def test_categories_keep_their_order():
    axis = Categories((16, 25, "x"), 0, 90)
    assert [axis(v) for v in (16, 25, "x")] == [15, 45, 75]
    assert math.isnan(axis("y"))
