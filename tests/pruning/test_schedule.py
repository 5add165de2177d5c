"""How much each stage takes: worked by hand, and on the sizes of the paper."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.errors import UserError
from kdsearch.models.stgcn import BASE, STGCN, STUDENT, TEACHER, Channels
from kdsearch.pruning import PruneSettings, plan
from kdsearch.pruning.schedule import TOLERANCE, make_schedule


def network(channels: Channels, n: int) -> STGCN:
    return STGCN(n, channels, torch.eye(n).expand(3, n, n))


def test_stages_worked_by_hand() -> None:
    """Two layers of 10 and 4 units, one parameter a unit, 30% a stage, 4 of 14 to stay.

    Shares left: 0.7 -> 7, 2.8; 0.49 -> 4.9, 1.96; 0.343 -> 3.43, 1.372. The last would leave 3 + 1 = 4.
    """
    schedule = make_schedule((10, 4), sum, percent=100 * 10 / 14, stage_percent=30)
    assert schedule.stages == ((7, 3), (5, 2), (3, 1))
    assert schedule.sizes == (10, 7, 4)


def test_last_stage_takes_only_what_is_needed() -> None:
    """As above with 9 of 14 to stay: 0.7 leaves 10, 0.49 leaves 7; 0.64 leaves 6.4 -> 6 and 2.56 -> 3."""
    schedule = make_schedule((10, 4), sum, percent=100 * 5 / 14, stage_percent=30)
    assert schedule.stages == ((7, 3), (6, 3))


def test_one_stage_is_enough_for_little() -> None:
    assert make_schedule((10, 10), sum, percent=10, stage_percent=30).stages == ((9, 9),)


def test_layers_of_equal_width_are_told_apart_only_where_needed() -> None:
    """Three layers of 10 lose a unit at the same time, a tenth of the whole: half-way between, some keep theirs."""
    assert make_schedule((10, 10, 10), sum, percent=100 * 4 / 30, stage_percent=50).sizes == (26,)


def test_few_channels_keep_pace_with_many() -> None:
    """20% of 2 channels is less than one, yet after four stages both layers are down to 0.41 of what they were."""
    schedule = make_schedule((2, 100), sum, percent=60, stage_percent=20)
    assert [counts[0] for counts in schedule.stages] == [2, 1, 1, 1, 1]


@pytest.mark.parametrize("n", [228, 170])
@pytest.mark.parametrize(
    ("channels", "percent"), [(TEACHER, 97), (TEACHER, 75), (BASE, 75), (BASE, 50), (BASE, 25), (BASE, 97)]
)
@pytest.mark.parametrize("granularity", ["filter", "weight"])
def test_shares_of_the_paper_within_a_point(n: int, channels: Channels, percent: float, granularity: str) -> None:
    model = network(channels, n)
    schedule = plan(model, PruneSettings(percent, granularity=granularity))  # type: ignore[arg-type]
    assert schedule.full == model.n_parameters()
    assert abs(schedule.sizes[-1] / schedule.full - (1 - percent / 100)) <= TOLERANCE
    assert schedule.warning == ""
    assert all(min(counts) >= 1 for counts in schedule.stages)
    for before, after in zip(schedule.stages, schedule.stages[1:], strict=False):
        assert all(a >= b for a, b in zip(before, after, strict=True))


def test_97_percent_of_the_teacher_forces_the_channels_of_the_student() -> None:
    """The same share from every layer leaves a sixteenth of each: 10,144 of 333,604 parameters."""
    schedule = plan(network(TEACHER, 228), PruneSettings(97))
    assert schedule.stages[-1] == (2, 4, 2, 8, 8, 8)
    assert schedule.sizes[-1] == network(STUDENT, 228).n_parameters() == 10_144


@given(
    widths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    percent=st.floats(0.5, 99.5),
    stage=st.floats(1, 90),
)
@settings(max_examples=200, deadline=None)
def test_any_schedule(widths: list[int], percent: float, stage: float) -> None:
    def size(counts: tuple[int, ...]) -> int:
        return 7 + sum(counts) + 3 * math.prod(counts[:2])

    full = size(tuple(widths))
    schedule = make_schedule(widths, size, percent, stage, unreachable="nearest")
    assert schedule.full == full
    reached = schedule.sizes[-1] if schedule.sizes else full
    assert bool(schedule.warning) == (abs(reached - full * (1 - percent / 100)) > TOLERANCE * full)
    previous = tuple(widths)
    for k, counts in enumerate(schedule.stages, 1):
        assert all(1 <= b <= a for a, b in zip(previous, counts, strict=True))
        if k < len(schedule.stages):  # the lowest n% of what is left, up to rounding
            share = (1 - stage / 100) ** k
            assert all(abs(c - w * share) <= 0.5 or c == 1 for c, w in zip(counts, widths, strict=True))
        previous = counts


def test_out_of_reach() -> None:
    model = network(STUDENT, 228)
    with pytest.raises(UserError, match=r"the nearest is 16\.19% \(one channel stays in every layer\)"):
        plan(model, PruneSettings(97))
    schedule = plan(model, PruneSettings(97, unreachable="nearest"))
    assert schedule.stages[-1] == (1, 1, 1, 1, 1, 1)
    assert "16.19%" in schedule.warning


def test_steps_too_coarse() -> None:
    with pytest.raises(UserError, match="a channel is a larger step than that"):
        make_schedule((5,), sum, percent=45, stage_percent=20)
    assert make_schedule((5,), sum, percent=45, stage_percent=20, unreachable="nearest").stages == ((4,), (3,))


def test_already_small() -> None:
    teacher = network(TEACHER, 228)
    with pytest.raises(UserError, match="already no more than"):
        plan(network(STUDENT, 228), PruneSettings(90, full=teacher.n_parameters()))
    schedule = plan(network(BASE, 228), PruneSettings(97, full=teacher.n_parameters()))
    assert abs(schedule.sizes[-1] / teacher.n_parameters() - 0.03) <= TOLERANCE


@pytest.mark.parametrize("percent", [0, 100, -3, 250, math.nan, math.inf])
def test_percents_outside(percent: float) -> None:
    with pytest.raises(UserError, match="between 0 and 100"):
        PruneSettings(percent)
    with pytest.raises(UserError, match="between 0 and 100"):
        PruneSettings(50, stage_percent=percent)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pruning_minibatch", 0),
        ("granularity", "layer"),
        ("criterion", "magnitude"),
        ("finetune_loss", "both"),
        ("unreachable", "ignore"),
        ("full", 0),
    ],
)
def test_other_settings(field: str, value: object) -> None:
    with pytest.raises(UserError, match=field):
        PruneSettings(50, **{field: value})  # type: ignore[arg-type]
