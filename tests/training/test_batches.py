"""In which order windows are drawn."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.training.batches import shuffled_runs, shuffled_windows
from kdsearch.training.settings import FitSettings


def order(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 200), size=st.integers(1, 60), seed=st.integers(0, 999))
def test_every_window_once_in_a_pass(count, size, seed):
    batches = shuffled_windows(count, size, order(seed))
    assert sorted(torch.cat(batches).tolist()) == list(range(count))
    assert [len(b) for b in batches[:-1]] == [size] * (len(batches) - 1)
    assert 1 <= len(batches[-1]) <= size
    again = shuffled_windows(count, size, order(seed))
    assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))


@settings(max_examples=80, deadline=None)
@given(
    days=st.integers(1, 5),
    per_day=st.integers(1, 40),
    run=st.integers(1, 50),
    size=st.integers(1, 60),
    seed=st.integers(0, 999),
)
def test_runs_tile_the_days(days, per_day, run, size, seed):
    batches = shuffled_runs(days, per_day, run, size, order(seed))
    length = min(run, per_day)
    starts = torch.cat(batches).tolist()
    assert len(starts) == days * (per_day // length)
    for start in starts:
        assert 0 <= start < days * per_day
        assert start // per_day == (start + length - 1) // per_day  # never across midnight
    windows = [start + k for start in starts for k in range(length)]
    assert len(set(windows)) == len(windows)
    wanted = max(1, size // length)
    assert [len(b) for b in batches[:-1]] == [wanted] * (len(batches) - 1)
    assert 1 <= len(batches[-1]) <= wanted
    again = shuffled_runs(days, per_day, run, size, order(seed))
    assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))


def test_the_cuts_between_runs_move_from_pass_to_pass():
    generator = order(0)
    seen: set[int] = set()
    for _ in range(40):
        seen |= set(torch.cat(shuffled_runs(1, 11, 4, 8, generator)).tolist())
    assert seen == set(range(8))  # offsets 0 to 3 of two runs of 4


def test_order_changes_from_pass_to_pass():
    generator = order(0)
    first, second = (torch.cat(shuffled_windows(50, 10, generator)).tolist() for _ in range(2))
    assert first != second


def test_rate_of_an_epoch():
    settings_ = FitSettings(learning_rate=0.01)
    assert [settings_.rate(e) for e in (1, 5, 6, 10, 11)] == pytest.approx([0.01, 0.01, 0.007, 0.007, 0.0049])
    assert FitSettings(lr_decay=0.5, lr_every=1, learning_rate=1.0).rate(4) == 0.125


@pytest.mark.parametrize("name", ["epochs", "batch_size", "lr_every", "rollout_steps", "run_length"])
def test_settings_refuse_what_cannot_be(name):
    with pytest.raises(ValueError, match=name):
        FitSettings(**{name: 0})


def test_a_roll_out_has_no_runs():
    with pytest.raises(ValueError, match="cannot both"):
        FitSettings(run_length=2, rollout_steps=2)
