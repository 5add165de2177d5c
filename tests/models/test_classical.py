"""Copy-last and ridge autoregression."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kdsearch.data import Dataset, Windows, load
from kdsearch.models.classical import CopyLast, DampedDeviation, HistoricalAverage, RidgeAR
from kdsearch.training.evaluate import evaluate, forecast
from tests.conftest import DECLARATIONS
from tests.training.tiny import STEPS, tiny, with_speeds


def slow_ridge(dataset: Dataset, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Least squares with the penalty as further rows, one sensor after the other: intercepts and coefficients."""
    windows = Windows(dataset, "train")
    days = windows.days.double().numpy()
    intercepts, coefficients = [], []
    for i in range(dataset.n_nodes):
        rows, targets = [], []
        for d in range(len(days)):
            for t in range(12, STEPS):
                if windows.valid is None or windows.valid[d, t, i]:
                    rows.append(np.r_[1.0, days[d, t - 12 : t, i]])
                    targets.append(days[d, t, i])
        ridge = np.sqrt(penalty * len(rows)) * np.eye(13)[1:]
        w, *_ = np.linalg.lstsq(np.vstack((rows, ridge)), np.r_[targets, np.zeros(12)], rcond=None)
        intercepts.append(w[0])
        coefficients.append(w[1:])
    return np.array(intercepts), np.array(coefficients).T


@pytest.mark.parametrize("penalty", [1e-3, 0.5])
@pytest.mark.parametrize("missing", [False, True])
def test_ridge_is_least_squares_with_a_penalty(penalty, missing):
    data = tiny()
    if missing:
        speeds = data.speeds.copy()
        speeds[np.random.default_rng(0).random(speeds.shape) < 0.15] = np.nan
        data = with_speeds(data, speeds)
    found = RidgeAR(Windows(data, "train"), penalty)
    intercept, coefficients = slow_ridge(data, penalty)
    np.testing.assert_allclose(found.intercept, intercept, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.coefficients, coefficients, rtol=1e-4, atol=1e-6)


def test_ridge_rolls_out_by_feeding_back():
    data = tiny()
    model = RidgeAR(Windows(data, "train"))
    x = torch.randn(3, 12, 4, generator=torch.Generator().manual_seed(0))
    rolled, _ = model.roll_out(x, 5)
    seen = x.double().numpy()
    for k in range(5):
        forecast = np.stack(
            [
                seen[:, -12:, i] @ model.coefficients[:, i].double().numpy() + float(model.intercept[i])
                for i in range(4)
            ],
            axis=-1,
        )
        np.testing.assert_allclose(rolled[:, k], forecast, atol=1e-5)
        seen = np.concatenate((seen, forecast[:, None]), axis=1)


def test_a_sensor_without_a_valid_target_forecasts_the_mean():
    """Its only reading stands where it is the input of windows and the target of none."""
    speeds = tiny().speeds.copy()
    speeds[:3, :, 0] = np.nan
    speeds[0, 3, 0] = 60.0
    forecasts, _ = RidgeAR(Windows(with_speeds(tiny(), speeds), "train")).roll_out(torch.ones(1, 12, 4), 9)
    assert torch.isfinite(forecasts).all()
    assert forecasts[..., 0].abs().max() == 0


def test_copy_last():
    x = torch.arange(24.0).view(1, 12, 2)
    y, nothing = CopyLast().roll_out(x, 3)
    assert y.tolist() == [[[22.0, 23.0]] * 3]
    assert nothing is None


@pytest.mark.real
def test_the_real_week(real_data: Path):
    """Figures measured independently of this package on the same split (issue 2)."""
    data = load(DECLARATIONS / "pemsd7-week.toml", real_data)
    copied = evaluate(CopyLast(), data, "test")
    assert [round(copied[f"mae_{m}"], 3) for m in (15, 30, 45)] == [2.654, 3.827, 4.762]
    ridge = evaluate(RidgeAR(Windows(data, "train")), data, "test")
    assert [ridge[f"mae_{m}"] for m in (15, 30, 45)] == pytest.approx([2.690, 3.954, 4.955], rel=0.01)
    usual = evaluate(DampedDeviation(Windows(data, "train")), data, "test")
    assert [usual[f"mae_{m}"] for m in (15, 30, 45)] == pytest.approx([2.598, 3.297, 3.639], rel=0.01)


@pytest.mark.parametrize("missing", [False, True])
def test_the_usual_day_and_a_share_of_the_last_deviation(missing):
    data = tiny()
    speeds = data.speeds.copy()
    if missing:
        speeds[0, 20, 1] = np.nan
        speeds[2, 30, 3] = np.nan
    data = with_speeds(data, speeds)
    train, validation = Windows(data, "train"), Windows(data, "validation")
    found = forecast(DampedDeviation(train), validation, 9).numpy()
    days = speeds[:3].astype(np.float64)
    usual = np.nanmean(days, axis=0)
    for i in range(data.n_nodes):
        for k in range(1, 10):
            now, later = [], []
            for d in range(3):
                for t in range(11, days.shape[1] - k):
                    if not np.isnan(days[d, [t, t + k], i]).any():
                        now.append(days[d, t, i] - usual[t, i])
                        later.append(days[d, t + k, i] - usual[t + k, i])
            share = np.dot(now, later) / np.dot(now, now)
            for w in range(len(validation)):
                last = w + 11
                wanted = usual[last + k, i] + share * (speeds[3, last, i] - usual[last, i])
                assert found[w, k - 1, i] == pytest.approx(wanted, abs=2e-3)


@pytest.mark.parametrize("missing", [False, True])
def test_historical_average_is_the_mean_of_each_time_of_day(missing):
    data = tiny()
    speeds = data.speeds.copy()
    if missing:
        speeds[0, 20, 1] = np.nan
        speeds[:3, 33, 2] = np.nan  # never read at that time in training: the sensor's own mean
    data = with_speeds(data, speeds)
    model = HistoricalAverage(Windows(data, "train"))
    test = Windows(data, "test")
    found = forecast(model, test, 9).numpy()
    train = speeds[:3].astype(np.float64)
    for w in range(len(test)):
        for step in range(9):
            for i in range(data.n_nodes):
                read = [train[d, w + 12 + step, i] for d in range(3) if not np.isnan(train[d, w + 12 + step, i])]
                expected = np.mean(read) if read else np.nanmean(train[:, :, i])
                assert found[w, step, i] == pytest.approx(expected, rel=1e-5)
