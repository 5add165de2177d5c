"""Mixtures of two training days."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.data import Dataset, Windows
from kdsearch.data.dataset import Split
from kdsearch.data.mixed import mix, n_mixed


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(1, 40), st.integers(0, 2**31))
def test_each_is_a_convex_mixture_of_two_days(n_days: int, count: int, seed: int) -> None:
    # Days that are unit vectors say what each mixture is made of.
    found = mix(torch.eye(n_days).reshape(n_days, 1, n_days), count)[:, 0]
    assert found.shape == (count, n_days)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(count))
    assert (found >= 0).all()
    parts = (found > 1e-6).sum(dim=1)
    assert (parts <= 2).all()
    assert (parts == 2).sum() >= count - 1  # a share may be drawn very near 0 or 1
    days = torch.from_numpy(np.random.default_rng(seed).normal(size=(n_days, 5, 3)).astype(np.float32))
    torch.testing.assert_close(mix(days, count), torch.einsum("md,dsn->msn", found, days), rtol=1e-4, atol=1e-5)


def test_every_day_has_its_part_and_shares_are_even() -> None:
    found = mix(torch.eye(5).reshape(5, 1, 5), 1000)[:, 0]
    np.testing.assert_allclose(found.mean(dim=0), 0.2, atol=0.02)
    shares = found.amax(dim=1)
    assert shares.min() < 0.52
    assert shares.max() > 0.98
    assert abs(float(shares.mean()) - 0.75) < 0.02


def test_the_same_every_time_whoever_draws() -> None:
    days = torch.rand(3, 4, 2)
    torch.manual_seed(1)
    first = mix(days, 7)
    torch.manual_seed(2)
    before = torch.rand(1)
    torch.manual_seed(2)
    assert torch.equal(first, mix(days, 7))
    assert torch.equal(before, torch.rand(1))
    assert torch.equal(first[:4], mix(days, 7)[:4])


def test_one_pass_over_all_of_them_is_an_epoch(demo: Dataset) -> None:
    days = demo.split.train
    assert n_mixed(demo) == (demo.passes_per_epoch - 1) * days > 0
    single = replace(demo, split=Split(1, 1, 1))
    assert single.passes_per_epoch > 1
    assert n_mixed(single) == 0  # there is nothing to mix it with
    many = np.concatenate([demo.speeds] * 20)
    long = replace(demo, speeds=many, split=Split(len(many) - 2, 1, 1))
    assert long.passes_per_epoch == 1
    assert n_mixed(long) == 0


@pytest.mark.parametrize("gap", [False, True])
def test_windows_see_them_after_the_days_that_were_measured(demo: Dataset, gap: bool) -> None:
    if gap:
        speeds = demo.speeds.copy()
        speeds[0, 100:110, 2] = np.nan
        demo = replace(demo, speeds=speeds)
    plain, mixed = Windows(demo, "train"), Windows(demo, "train", mixed=4)
    days = demo.split.train
    assert (plain.observed, mixed.observed) == (days, days)
    assert len(mixed) == (days + 4) * plain.per_day
    assert torch.equal(mixed.days[:days], plain.days)
    assert torch.equal(mixed.days[days:], mix(plain.days, 4))
    if not gap:
        assert mixed.valid is None
        return
    assert plain.valid is not None
    assert mixed.valid is not None
    assert torch.equal(mixed.valid[:days], plain.valid)
    assert mixed.valid[days:].all()
    day, start = mixed.locate(torch.tensor([len(plain)]))
    assert (day.item(), start.item()) == (days, 0)
