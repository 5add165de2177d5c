"""The usual day of every sensor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.data import Dataset
from kdsearch.data.site import Site
from kdsearch.data.usual import HARMONICS, scored_day, usual_series
from tests.training.tiny import tiny


def waves(series: np.ndarray, steps: int) -> np.ndarray:
    """``[S, N]``, written out."""
    found = np.zeros((steps, series.shape[1]))
    for s in range(steps):
        angle = 2 * np.pi * s / steps
        found[s] = series[0]
        for h in range(1, len(series) // 2 + 1):
            found[s] += series[2 * h - 1] * np.sin(h * angle) + series[2 * h] * np.cos(h * angle)
    return found


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2**31), st.sampled_from([48, 96, 288]))
def test_a_day_of_waves_is_found_again(harmonics: int, n: int, seed: int, steps: int) -> None:
    draw = np.random.default_rng(seed)
    series = np.concatenate((draw.uniform(20, 70, (1, n)), draw.uniform(-9, 9, (2 * harmonics, n))))
    days = np.stack([waves(series, steps) + shift for shift in (-1.5, 0.0, 1.5)])
    found = usual_series(days, harmonics)
    assert found.shape == (2 * harmonics + 1, n)
    np.testing.assert_allclose(found, series, rtol=4e-3, atol=4e-3)  # shrunk by the ridge, a two-hundredth at most
    np.testing.assert_allclose(scored_day(found, steps, 50.0, 10.0), (waves(series, steps) - 50) / 10, atol=0.02)


def test_a_sensor_that_is_silent_for_hours_is_told_by_the_rest_of_its_day() -> None:
    draw = np.random.default_rng(0)
    series = np.concatenate((np.full((1, 2), 50.0), draw.uniform(-5, 5, (4, 2))))
    days = np.repeat(waves(series, 288)[None], 4, axis=0)
    whole = usual_series(days)
    days[:, 0:84, 1] = np.nan
    found = usual_series(days)
    np.testing.assert_array_equal(found[:, 0], whole[:, 0])
    day = scored_day(found, 288, 0.0, 1.0)[:, 1]
    np.testing.assert_allclose(day[96:276], waves(series, 288)[96:276, 1], atol=0.3)
    assert np.isfinite(day).all()
    assert np.abs(day - 50).max() < 60  # no wave runs away where nothing was read


def test_it_is_of_the_training_days_alone(demo: Dataset) -> None:
    other = demo.speeds.copy()
    other[demo.split.train :] += 7
    np.testing.assert_array_equal(replace(demo, speeds=other).usual, demo.usual)
    assert demo.usual.shape == (2 * HARMONICS + 1, demo.n_nodes)
    assert demo.usual_day.shape == (288, demo.n_nodes)
    usual = np.nanmean(demo.days("train"), axis=0)
    rest = usual - (demo.usual_day * demo.std + demo.mean)
    assert rest.std() < 0.4 * (usual - usual.mean(axis=0)).std()


def test_few_steps_a_day_tell_few_waves() -> None:
    data = tiny()
    assert data.usual.shape[0] == min(2 * HARMONICS + 1, 2 * ((data.steps_per_day - 1) // 2) + 1)
    assert np.isfinite(data.usual_day).all()


def test_a_site_has_the_same(demo: Dataset) -> None:
    site = Site.from_plain(Site.of(demo).plain())
    np.testing.assert_array_equal(site.usual_day, demo.usual_day)
    old = {name: value for name, value in Site.of(demo).plain().items() if name != "usual"}
    assert Site.from_plain(old).usual_day is None


def test_a_sensor_that_always_reads_the_same_is_flat() -> None:
    found = usual_series(np.full((2, 96, 1), 33.0))
    assert found[0, 0] == pytest.approx(33.0)
    np.testing.assert_allclose(found[1:], 0.0, atol=1e-9)
