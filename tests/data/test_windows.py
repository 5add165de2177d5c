from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kdsearch.data import Dataset, Windows, load
from tests.conftest import DECLARATIONS
from tests.data.conftest import make_dataset, some_speeds

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def zscore(d: Dataset, part: str) -> np.ndarray:
    return (d.days(part).astype(np.float64) - d.mean) / d.std


def last_start(windows: Windows, run: int, steps: int) -> int:
    """The latest start of a run whose targets, ``steps`` ahead of every window, lie within the day."""
    return windows.days.shape[1] - windows.n_his - (run - 1) - steps


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("run", "steps"), [(1, 1), (1, 9), (5, 1), (4, 3)])
def test_inputs_and_targets_equal_the_slow_construction(device: str, run: int, steps: int) -> None:
    d = make_dataset(some_speeds(7, 36, 3), (3, 2, 2))
    w = Windows(d, "validation", device)
    z = zscore(d, "validation")
    rng = np.random.default_rng(1)
    day = rng.integers(0, 2, size=8)
    start = rng.integers(0, last_start(w, run, steps) + 1, size=8)
    start[0] = last_start(w, run, steps)
    at = torch.from_numpy(day).to(device), torch.from_numpy(start).to(device)
    x = w.inputs(*at, run=run)
    y, valid = w.targets(*at, run=run, steps=steps)
    assert valid is None
    assert x.shape == (8, 12 + run - 1, 3)
    assert y.shape == ((8, run, 3) if steps == 1 else (8, run, steps, 3))
    for b in range(8):
        for t in range(12 + run - 1):
            np.testing.assert_allclose(x[b, t].cpu(), z[day[b], start[b] + t], atol=1e-5)
        for r in range(run):
            for k in range(steps):
                got = y[b, r] if steps == 1 else y[b, r, k]
                np.testing.assert_allclose(got.cpu(), z[day[b], start[b] + 12 + r + k], atol=1e-5)


def test_every_window_is_there_once_and_none_crosses_midnight() -> None:
    d = make_dataset(some_speeds(6, 288, 1), (4, 1, 1))
    w = Windows(d, "train")
    assert len(w) == 4 * 268
    day, start = w.locate(torch.arange(len(w)))
    assert sorted(zip(day.tolist(), start.tolist(), strict=True)) == [(i, s) for i in range(4) for s in range(268)]
    assert last_start(w, 1, 9) == 267
    y, _ = w.targets(day, start, steps=9)
    z = torch.from_numpy(zscore(d, "train")).float()
    assert torch.allclose(y[267, 0, 8], z[0, 287], atol=1e-5)
    assert torch.allclose(y[268, 0, 0], z[1, 12], atol=1e-5)


@pytest.mark.parametrize(("run", "steps"), [(1, 1), (3, 9)])
def test_reading_past_midnight_is_refused(run: int, steps: int) -> None:
    w = Windows(make_dataset(some_speeds(4, 48, 2)), "train")
    day, late = torch.tensor([0]), torch.tensor([last_start(w, run, steps) + 1])
    w.targets(day, late - 1, run=run, steps=steps)
    with pytest.raises(IndexError):
        w.targets(day, late, run=run, steps=steps)


def test_windows_are_views_and_not_stored() -> None:
    d = make_dataset(some_speeds(6, 288, 4), (4, 1, 1))
    w = Windows(d, "train")
    held = [v for v in vars(w).values() if isinstance(v, torch.Tensor)]
    assert sum(t.numel() for t in held) == d.days("train").size
    assert all(t.is_contiguous() for t in held)


def test_denormalise_gives_mph_back() -> None:
    d = make_dataset(some_speeds(4, 48, 2))
    w = Windows(d, "test")
    np.testing.assert_allclose(w.denormalise(w.days).numpy(), d.days("test"), atol=1e-4)


def test_missing_readings_are_filled_with_the_past_of_the_day_and_marked() -> None:
    speeds = some_speeds(4, 48, 2)
    speeds[1, 0:3, 0] = np.nan  # no reading yet that day: the mean
    speeds[1, 10:13, 0] = np.nan
    speeds[1, 47, 1] = np.nan
    d = make_dataset(speeds)
    w = Windows(d, "train")
    assert w.valid is not None
    assert torch.equal(w.valid, torch.from_numpy(~np.isnan(speeds[:2])))
    assert torch.isfinite(w.days).all()
    assert w.days[1, :3, 0].tolist() == [0.0, 0.0, 0.0]
    assert (w.days[1, 10:13, 0] == w.days[1, 9, 0]).all()
    assert w.days[1, 47, 1] == w.days[1, 46, 1]
    # A gap at the start of a day knows nothing of the day before.
    assert w.days[1, 0, 0] != w.days[0, 47, 0]
    _, valid = w.targets(torch.tensor([1]), torch.tensor([0]), steps=9)
    assert valid is not None
    assert valid.shape == (1, 1, 9, 2)
    assert valid[0, 0, :, 0].tolist() == [False] + [True] * 8
    assert Windows(d, "validation").valid is None


def test_filling_never_looks_ahead() -> None:
    speeds = some_speeds(4, 48, 3)
    speeds[0, np.random.default_rng(0).random((48, 3)) < 0.3] = np.nan
    later = speeds.copy()
    later[0, 30:] = 70.0
    # Other moments would move every value: take both sets' readings back to mph.
    a, b = Windows(make_dataset(speeds), "train"), Windows(make_dataset(later), "train")
    first, second = a.denormalise(a.days[0, :30]), b.denormalise(b.days[0, :30])
    carried = a.days[0, :30] != 0
    assert torch.allclose(first[carried], second[carried], atol=1e-3)


@pytest.mark.real
def test_copy_last_on_the_real_week_is_the_published_orientation(real_data: Path) -> None:
    d = load(DECLARATIONS / "pemsd7-week.toml", real_data)
    w = Windows(d, "test")
    day, start = w.locate(torch.arange(len(w)))
    last = w.inputs(day, start)[:, -1]
    y, _ = w.targets(day, start, steps=9)
    mae = [float((y[:, 0, k - 1] - last).abs().mean()) * w.std for k in (3, 6, 9)]
    assert mae == pytest.approx([2.654, 3.827, 4.762], abs=6e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gather_on_the_gpu_does_not_wait_for_it() -> None:
    w = Windows(make_dataset(some_speeds(4, 48, 2)), "train", "cuda")
    index = torch.arange(4, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        day, start = w.locate(index)
        w.inputs(day, start, run=3)
        w.targets(day, start, run=3, steps=4)
    finally:
        torch.cuda.set_sync_debug_mode("default")
