"""The nine figures against slow loops, and their readings of the windows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.models.classical import CopyLast
from kdsearch.training.evaluate import evaluate
from kdsearch.training.metrics import score, scores
from tests.training.tiny import tiny, with_speeds

HORIZONS = {1: 5, 3: 15, 4: 20}


def slow(prediction, truth, valid, horizons) -> dict[str, float]:
    out = {}
    for step, minutes in horizons.items():
        errors, shares = [], []
        for w in range(len(truth)):
            for i in range(truth.shape[2]):
                if valid is None or valid[w, step - 1, i]:
                    v = float(truth[w, step - 1, i])
                    errors.append(float(prediction[w, step - 1, i]) - v)
                    shares.append(abs(errors[-1]) / (v + 1e-5))
        count = len(errors)
        out[f"mae_{minutes}"] = sum(map(abs, errors)) / count
        out[f"rmse_{minutes}"] = math.sqrt(sum(e * e for e in errors) / count)
        out[f"mape_{minutes}"] = 100 * sum(shares) / count
    return out


@settings(max_examples=25, deadline=None)
@given(windows=st.integers(1, 5), n=st.integers(1, 4), seed=st.integers(0, 999), masked=st.booleans())
def test_agrees_with_slow_loops(windows, n, seed, masked):
    generator = torch.Generator().manual_seed(seed)
    truth = 5 + 70 * torch.rand(windows, 4, n, generator=generator)
    prediction = truth + 6 * torch.randn(truth.shape, generator=generator)
    valid = None
    if masked:
        valid = torch.rand(truth.shape, generator=generator) < 0.6
        valid[0] = True
        truth[~valid] = torch.nan
    found = scores(prediction, truth, valid, HORIZONS)
    wanted = slow(prediction, truth, valid, HORIZONS)
    assert found.keys() == wanted.keys()
    assert found == pytest.approx(wanted, rel=1e-9)


def test_by_hand():
    truth = torch.tensor([[[10.0, 20.0]]])
    found = scores(truth + torch.tensor([1.0, -3.0]), truth, None, {1: 5})
    assert found["mae_5"] == 2
    assert found["rmse_5"] == pytest.approx(math.sqrt(5))
    assert found["mape_5"] == pytest.approx(100 * (1 / 10 + 3 / 20) / 2, rel=1e-5)


def test_a_reading_of_zero_counts_and_divides_by_the_small_number():
    zero = torch.zeros(1, 1, 1)
    assert scores(zero + 2, zero, None, {1: 5})["mape_5"] == pytest.approx(100 * 2 / 1e-5)


def test_nothing_to_measure_is_not_a_number():
    found = scores(torch.ones(2, 1, 1), torch.ones(2, 1, 1), torch.zeros(2, 1, 1, dtype=torch.bool), {1: 5})
    assert all(math.isnan(x) for x in found.values())
    assert math.isnan(scores(torch.full((2, 1, 1), torch.nan), torch.ones(2, 1, 1), None, {1: 5})["mae_5"])


def test_the_score_is_the_mean_of_the_maes():
    figures = {"mae_15": 1.0, "rmse_15": 50.0, "mape_15": 70.0, "mae_30": 2.0, "mae_45": 6.0}
    assert score(figures) == 3.0


@pytest.mark.parametrize("missing", [False, True])
def test_evaluation_reads_every_window_of_its_part(missing):
    """Copy-last on the validation day, from the raw speeds."""
    data = tiny()
    if missing:
        speeds = data.speeds.copy()
        speeds[3, 20:23, 1] = np.nan
        data = with_speeds(data, speeds)
    (day,) = data.days("validation").astype(np.float64)
    wanted = {}
    for step, minutes in data.horizons.items():
        errors = []
        for start in range(48 - 21 + 1):
            for i in range(4):
                seen = day[: start + 12, i]
                target = day[start + 11 + step, i]
                if not np.isnan(target):
                    errors.append(abs(seen[~np.isnan(seen)][-1] - target))
        wanted[f"mae_{minutes}"] = np.mean(errors)
    found = evaluate(CopyLast(), data, "validation")
    assert {k: v for k, v in found.items() if k in wanted} == pytest.approx(wanted, rel=1e-5)
    assert len(found) == 9
