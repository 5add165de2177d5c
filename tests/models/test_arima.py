"""ARIMA: the matrix that is applied is what statsmodels forecasts from each window."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdsearch.data import Windows
from kdsearch.models.arima import ARIMA
from kdsearch.models.classical import CopyLast
from kdsearch.training.evaluate import evaluate
from tests.training.tiny import tiny, with_speeds

statsmodels = pytest.importorskip("statsmodels.tsa.arima.model")

SIZE = (8, 48, 2)


def autoregressive(phi: float = 0.8, seed: int = 0) -> np.ndarray:
    """Speeds of a first-order autoregression around 50 mph."""
    rng = np.random.default_rng(seed)
    steps, n = SIZE[0] * SIZE[1], SIZE[2]
    x = np.zeros((steps, n))
    for t in range(1, steps):
        x[t] = phi * x[t - 1] + rng.normal(size=n)
    return (50 + 4 * x).reshape(SIZE).astype(np.float32)


@pytest.fixture(scope="module")
def data():
    return with_speeds(tiny(n=2, days=6), autoregressive())


def test_forecasts_are_those_of_the_kalman_filter_on_each_window(data):
    windows = Windows(data, "train")
    model = ARIMA(windows, 9, order=(2, 0, 1))
    test = Windows(data, "test")
    x = test.inputs(*test.locate(torch.tensor([0, 5, 17])))
    found = model.roll_out(x, 9)[0].numpy()
    series = windows.days.double().numpy().reshape(-1, 2)
    for i in range(2):
        fitted = statsmodels.ARIMA(series[:, i], order=(2, 0, 1), trend="c").fit(method="innovations_mle")
        for w in range(3):
            own = statsmodels.ARIMA(x[w, :, i].double().numpy(), order=(2, 0, 1), trend="c")
            np.testing.assert_allclose(found[w, :, i], own.filter(fitted.params).forecast(9), rtol=1e-4, atol=1e-5)


def test_a_first_order_process_is_found(data):
    """The best forecast h steps ahead is phi^h of the last reading's distance from the mean."""
    model = ARIMA(Windows(data, "train"), 9, order=(1, 0, 0))
    powers = 0.8 ** np.arange(1, 10)
    for i in range(2):
        np.testing.assert_allclose(model.coefficients[:, -1, i].numpy(), powers, atol=0.1)
        np.testing.assert_allclose(model.coefficients[:, :-1, i].numpy(), 0.0, atol=1e-6)
    ours, copied = evaluate(model, data, "test"), evaluate(CopyLast(), data, "test")
    assert sum(ours.values()) < sum(copied.values())


def test_gaps_and_dead_sensors(data):
    speeds = autoregressive()
    speeds[:, 10:14, 0] = np.nan
    speeds[..., 1] = 61.0
    gappy = with_speeds(data, speeds)
    model = ARIMA(Windows(gappy, "train"), 3, order=(1, 0, 0))
    assert torch.isfinite(model.coefficients).all()
    z = (61.0 - gappy.mean) / gappy.std
    np.testing.assert_allclose(model.roll_out(torch.randn(4, 12, 2), 3)[0][..., 1].numpy(), z, rtol=1e-5)
    np.testing.assert_allclose(model.coefficients[0, -1, 0].item(), 0.8, atol=0.12)


def test_one_that_was_fitted_before(data):
    model = ARIMA(Windows(data, "train"), 2, order=(1, 0, 0))
    x = torch.randn(3, 12, 2)
    again = ARIMA.of(model.coefficients, model.intercept)
    assert torch.equal(model.roll_out(x, 2)[0], again.roll_out(x, 2)[0])


def test_a_fit_that_was_cut_off_is_carried_on(data):
    states = []
    whole = ARIMA(Windows(data, "train"), 3, order=(1, 0, 0), on_sensor=lambda *state: states.append(state))
    assert [coefficients.shape[2] for coefficients, _ in states] == [1, 2]
    told = []
    rest = ARIMA(
        Windows(data, "train"), 3, order=(1, 0, 0), begun=states[0], on_sensor=lambda *state: told.append(state)
    )
    assert len(told) == 1  # one sensor was left
    assert torch.equal(rest.coefficients, whole.coefficients)
    assert torch.equal(rest.intercept, whole.intercept)


def test_a_sensor_that_hardly_looks_stationary(data):
    """The fast likelihood gives up on a process that is not stationary, even on its way to one that is."""
    rng = np.random.default_rng(0)
    slow = np.cumsum(np.cumsum(rng.normal(size=SIZE[0] * SIZE[1])))
    speeds = autoregressive()
    speeds[..., 1] = (50 + 8 * (slow - slow.mean()) / slow.std()).reshape(SIZE[:2])
    windows = Windows(with_speeds(data, speeds), "train")
    model = ARIMA(windows, 3)
    series = windows.days.double().numpy().reshape(-1, 2)[:, 1]
    with pytest.raises(ValueError, match="non-stationary"):
        statsmodels.ARIMA(series, order=(3, 0, 1), trend="c").fit(method="innovations_mle")
    assert torch.isfinite(model.coefficients).all()
    # With a reading known, the next of so smooth a course is near it.
    assert float(model.coefficients[0, :, 1].sum()) == pytest.approx(1.0, abs=0.1)
