from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kdsearch.data import Dataset, Split, load
from kdsearch.errors import UserError
from tests.conftest import DECLARATIONS
from tests.data.conftest import make_dataset, some_speeds


def materialised(days: np.ndarray, length: int) -> np.ndarray:
    """Every window of every day, stored: what the original code computes its z-score from."""
    return np.stack([day[s : s + length] for day in days for s in range(len(day) - length + 1)]).astype(np.float64)


@pytest.mark.parametrize("steps", [24, 36, 48, 288])
def test_moments_are_those_of_materialised_windows(steps: int) -> None:
    d = make_dataset(some_speeds(4, steps, 3))
    windows = materialised(d.days("train"), 21)
    assert d.mean == pytest.approx(windows.mean(), rel=1e-12)
    assert d.std == pytest.approx(windows.std(), rel=1e-12)


def test_moments_leave_missing_readings_out() -> None:
    speeds = some_speeds(4, 48, 3)
    speeds[0, 3:30, 1] = np.nan
    d = make_dataset(speeds)
    windows = materialised(d.days("train"), 21)
    assert d.mean == pytest.approx(np.nanmean(windows), rel=1e-12)
    assert d.std == pytest.approx(np.nanstd(windows), rel=1e-12)
    assert d.n_missing == 27


def test_moments_know_nothing_of_later_days() -> None:
    speeds = some_speeds(4, 48, 3)
    changed = speeds.copy()
    changed[2:] = 1.0
    assert make_dataset(speeds).mean == make_dataset(changed).mean
    assert make_dataset(speeds).std == make_dataset(changed).std


def test_constant_speeds_do_not_divide_by_zero() -> None:
    assert make_dataset(np.full((4, 24, 2), 60.0, np.float32)).std == 1.0


def test_split_is_in_time_order_and_views() -> None:
    d = make_dataset(some_speeds(6, 24, 2), (3, 2, 1))
    assert np.array_equal(d.days("train"), d.speeds[:3])
    assert np.array_equal(d.days("validation"), d.speeds[3:5])
    assert np.array_equal(d.days("test"), d.speeds[5:6])
    assert np.shares_memory(d.days("test"), d.speeds)


def test_numbers_of_the_published_split() -> None:
    d = make_dataset(some_speeds(44, 288, 1), (34, 5, 5))
    assert [len(d.days(p)) * d.windows_per_day for p in ("train", "validation", "test")] == [9112, 1340, 1340]
    assert d.horizons == {3: 15, 6: 30, 9: 45}
    assert d.passes_per_epoch == 1
    assert make_dataset(some_speeds(7, 288, 1), (5, 1, 1)).passes_per_epoch == 7
    # Eight windows are a single update of at most eight, as often as the full data have minibatches.
    assert make_dataset(some_speeds(4, 24, 1)).passes_per_epoch == round(34 * 268 / 50)


def test_horizons_are_minutes_of_the_resolution() -> None:
    assert make_dataset(some_speeds(4, 96, 1)).horizons == {3: 45, 6: 90, 9: 135}


def test_fingerprint_changes_with_what_matters_and_only_with_it() -> None:
    speeds = some_speeds(4, 24, 3)
    d = make_dataset(speeds)
    assert d.fingerprint == make_dataset(speeds.copy(), name="other").fingerprint
    other = speeds.copy()
    other[3, 23, 2] += 0.1
    graph = Dataset("small", speeds, d.weights * 0.5, d.split, "default")
    missing = speeds.copy()
    missing[0, 0, 0] = np.nan
    prints = {
        d.fingerprint,
        make_dataset(other).fingerprint,
        make_dataset(speeds, (1, 2, 1)).fingerprint,
        make_dataset(missing).fingerprint,
        graph.fingerprint,
    }
    assert len(prints) == 5


def test_fingerprint_is_that_of_another_processor_whose_last_bit_differs() -> None:
    whole = make_dataset(some_speeds(4, 24, 3))
    d = Dataset("small", whole.speeds, 0.7 * whole.weights, whole.split, "default")
    for towards in (0.0, 1.0):
        off = np.where(d.weights > 0, np.nextafter(d.weights, towards), d.weights)
        assert (off != d.weights).any()
        assert Dataset("small", d.speeds, off, d.split, "default").fingerprint == d.fingerprint


def test_fewer_days_than_the_split_are_an_error() -> None:
    with pytest.raises(UserError, match=r"has 3 whole days but its split 2/1/1 needs 4"):
        make_dataset(some_speeds(3, 24, 2))


def test_a_sensor_without_a_training_reading_is_named() -> None:
    speeds = some_speeds(4, 24, 3)
    speeds[:2, :, 1] = np.nan
    with pytest.raises(UserError, match=r"sensor 1 .* no valid reading in the 2 training days"):
        make_dataset(speeds)


@pytest.mark.parametrize(("part", "day"), [("validation", 2), ("test", 3)])
@pytest.mark.parametrize(("first", "minutes"), [(12, 180), (17, 360), (20, 540)])
def test_days_without_a_reading_to_compare_with_are_named(part: str, day: int, first: int, minutes: int) -> None:
    """Of a day of 24 hours the forecasts of 3, 6 and 9 hours are of hours 14 to 17, 17 to 20 and 20 to 23."""
    speeds = some_speeds(4, 24, 3)
    speeds[day, first:] = np.nan
    with pytest.raises(UserError, match=f"its {part} days have no valid reading .* a forecast of {minutes} minutes"):
        make_dataset(speeds)


@pytest.mark.parametrize(
    ("speeds", "weights", "words"),
    [
        (some_speeds(4, 24, 3), np.zeros((2, 2)), "graph is 2x2 but the speeds have 3 sensors"),
        (some_speeds(4, 20, 3), np.zeros((3, 3)), "fewer than one window"),
        (some_speeds(4, 25, 3), np.zeros((3, 3)), "must divide 1440"),
        (some_speeds(4, 24, 3)[0], np.zeros((3, 3)), "days, steps a day, sensors"),
    ],
)
def test_parts_that_do_not_fit(speeds: np.ndarray, weights: np.ndarray, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Dataset("small", speeds, weights, Split(2, 1, 1), "default")


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "shape", "split", "windows"),
    [
        ("pemsd7-week", (7, 288, 228), (5, 1, 1), 1340),
        ("pemsd7-20", (31, 288, 20), (21, 5, 5), 5628),
        ("pemsd8-head", (4, 288, 170), (2, 1, 1), 536),
    ],
)
def test_the_real_pieces(
    real_data: Path, name: str, shape: tuple[int, int, int], split: tuple[int, int, int], windows: int
) -> None:
    d = load(DECLARATIONS / f"{name}.toml", real_data)
    assert d.name == name
    assert d.speeds.shape == shape
    assert d.speeds.dtype == np.float32
    assert (d.split.train, d.split.validation, d.split.test) == split
    assert len(d.days("train")) * d.windows_per_day == windows
    assert d.n_missing == 0
    assert d.graph_kernel.shape == (3, d.n_nodes, d.n_nodes)
    assert d.graph_kernel.dtype == np.float32
    windows_of_train = materialised(d.days("train")[:, :, :5], 21)
    five = Dataset(name, d.speeds[:, :, :5], d.weights[:5, :5], d.split, "default")
    assert five.mean == pytest.approx(windows_of_train.mean(), rel=1e-9)
    assert five.std == pytest.approx(windows_of_train.std(), rel=1e-9)


@pytest.mark.real
def test_the_partial_day_of_pemsd8_head_is_dropped_with_a_note(real_data: Path) -> None:
    d = load(DECLARATIONS / "pemsd8-head.toml", real_data)
    assert d.notes == ("pemsd8-head: the last 130 steps are a partial day and left out",)
    raw = np.load(real_data / "pemsd8-head" / "pems08.npz")["data"]
    assert np.array_equal(d.speeds.reshape(-1, 170), raw[:1152, :, 2].astype(np.float32))
