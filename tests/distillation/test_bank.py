"""The teacher bank: whatever a loss reads of it is what the teacher itself would have said."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.data import Windows
from kdsearch.distillation import bank as bank_module
from kdsearch.distillation import losses
from kdsearch.distillation.bank import BankReader, LiveTeacher, TeacherBank, bank_bytes
from kdsearch.distillation.losses import Needs
from kdsearch.distillation.sampled import Sampling
from kdsearch.models.stgcn import STGCN
from kdsearch.training.network import new_network
from tests.training.tiny import CHANNELS, randomised, tiny

TEACHER = ((1, 3, 6), (6, 4, 5))
ALL = Needs(True, True, True, (0, 1, 2, 3), (0, 1))
EXACT = ("rd_l2", "rd_kl", "ord", "tcd", "scd", "stcd")
HALF = ("fitnet", "at", "nst", "skd")
DATA = tiny(n=5)
WINDOWS = Windows(DATA, "train")


def teacher() -> STGCN:
    return randomised(new_network(DATA, TEACHER, 0), 1)


BANK = TeacherBank.build(teacher(), WINDOWS.days, ALL)


def arrays(bank: TeacherBank) -> Iterator[np.ndarray]:
    yield bank.prediction
    for pair in (*bank.temporal_correlation, *bank.spatial_correlation):
        yield from pair
    yield from (a for a in (*bank.temporal, *bank.spatial) if a is not None)


def drawn(run: int, batch: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Day, start and input of random runs, the first and the last of the day among them."""
    generator = torch.Generator().manual_seed(seed)
    day = torch.randint(3, (batch,), generator=generator)
    start = torch.randint(WINDOWS.per_day - run + 1, (batch,), generator=generator)
    start[0], start[-1] = 0, WINDOWS.per_day - run
    return day, start, WINDOWS.inputs(day, start, run=run)


def computed(name: str, told, at, run: int) -> tuple[dict[str, float], list[torch.Tensor]]:
    """Parts of a loss and the student's gradient with one or the other teacher."""
    day, start, x = at
    student = randomised(new_network(DATA, CHANNELS, 0), 5)
    torch.manual_seed(0)
    values = {h.name: h.default for h in losses.hyperparameters(name)}
    loss = losses.build(name, scale=losses.Scale(DATA.mean, DATA.std), **values)
    target, _ = WINDOWS.targets(day, start, run=run)
    features, batch = student.features(x.unsqueeze(-1)), told(day, start, x)
    loss.prepare(features, batch)
    terms = loss(features, batch, target if run > 1 else target[:, 0])
    loss.backward(terms, list(student.parameters()), 1.0)
    parts = {"total": float(terms.total.detach()), **{k: float(v) for k, v in terms.parts.items()}}
    return parts, [p.grad for p in student.parameters()]


@pytest.mark.parametrize(("names", "tolerance"), [(EXACT, 2e-4), (HALF, 5e-3)], ids=["fixed-point", "half"])
@settings(max_examples=12, deadline=None)
@given(run=st.sampled_from([1, 1, 2, 5, 28]), batch=st.integers(2, 5), seed=st.integers(0, 999), data=st.data())
def test_a_loss_cannot_tell_the_bank_from_the_teacher(names, tolerance, run, batch, seed, data):
    name = data.draw(st.sampled_from(names))
    at = drawn(run, batch, seed)
    parts, gradients = computed(name, BankReader(BANK), at, run)
    live_parts, live_gradients = computed(name, LiveTeacher(teacher()), at, run)
    assert parts == pytest.approx(live_parts, rel=tolerance, abs=1e-6)
    size = max(float(g.abs().max()) for g in live_gradients)
    for mine, theirs in zip(gradients, live_gradients, strict=True):
        assert float((mine - theirs).abs().max()) <= tolerance * size


def test_another_window_is_another_answer():
    """What makes the test above able to fail: neighbours differ by far more than its tolerance."""
    day, start, x = drawn(1, 4, 0)
    start[:] = 3
    here, there = (computed("stcd", BankReader(BANK), (day, s, x), 1)[0] for s in (start, start + 1))
    for part in ("temporal", "spatial", "total"):
        assert abs(here[part] - there[part]) > 2e-3 * here[part]


@pytest.mark.parametrize("run", [1, 4])
def test_predictions_and_features_of_the_windows(run):
    day, start, x = drawn(run, 6, 1)
    batch, live = BankReader(BANK)(day, start, x), LiveTeacher(teacher())(day, start, x)
    torch.testing.assert_close(batch.prediction, live.prediction, rtol=1e-5, atol=1e-5)
    for kind in ("temporal", "spatial"):
        for kept, wanted in zip(getattr(batch, kind), getattr(live, kind), strict=True):
            assert kept.dtype == torch.float32
            torch.testing.assert_close(kept, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", [*losses.names(), "everything"])
def test_size_is_known_before(name):
    needs = ALL if name == "everything" else losses.get(name).NEEDS
    bank = TeacherBank.build(teacher(), WINDOWS.days, needs)
    assert bank.n_bytes == bank_bytes(teacher(), 3, 48, needs) == sum(a.nbytes for a in arrays(bank))
    assert [bool(bank.temporal_correlation), bool(bank.spatial_correlation)] == [
        needs.temporal_correlation,
        needs.spatial_correlation,
    ]
    kept = tuple(i for i, a in enumerate(bank.temporal) if a is not None)
    assert kept == needs.temporal_features


@settings(max_examples=10, deadline=None)
@given(widths=st.tuples(*[st.integers(1, 4)] * 4), n=st.integers(2, 5), days=st.integers(1, 3))
def test_size_of_any_teacher(widths, n, days):
    a, b, c, d = widths
    data = tiny(n=n, days=days)
    model = new_network(data, ((1, a, b), (b, c, d)), 0)
    bank = TeacherBank.build(model, Windows(data, "train").days, ALL)
    assert bank.n_bytes == bank_bytes(model, days, 48, ALL)


def test_arrays_that_cannot_be_written_are_read_without_a_copy_or_a_warning():
    """As Ray's object store hands them out."""
    bank = TeacherBank.build(teacher(), WINDOWS.days, ALL)
    for array in arrays(bank):
        array.setflags(write=False)
    before = [a.copy() for a in arrays(bank)]
    at = drawn(3, 4, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reader = BankReader(bank)
        found = {name: computed(name, reader, at, 3) for name in (*EXACT, *HALF)}
    for name, (parts, _) in found.items():
        # Another build of the bank: its arrays may lie otherwise in memory, and products be added in another order.
        assert parts == pytest.approx(computed(name, BankReader(BANK), at, 3)[0], rel=1e-4)
    assert all(np.array_equal(a, b) for a, b in zip(before, arrays(bank), strict=True))
    share = reader(*at).temporal_correlation
    assert share is not None
    assert share[0].bank.values.data_ptr() == bank.temporal_correlation[0][0].ctypes.data


def test_the_teacher_gets_no_gradient_and_is_not_changed():
    model = teacher()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    TeacherBank.build(model, WINDOWS.days, ALL)
    computed("stcd", LiveTeacher(model), drawn(1, 3, 0), 1)
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_bank_of_sampled_pairs_that_reach_all_is_a_bank_of_all_pairs():
    sampled = TeacherBank.build(teacher(), WINDOWS.days, ALL, Sampling(DATA.n_nodes // 2))
    for run in (1, 3):
        at = drawn(run, 4, 3)
        for name in ("scd", "stcd"):
            parts, gradients = computed(name, BankReader(sampled), at, run)
            all_parts, all_gradients = computed(name, BankReader(BANK), at, run)
            assert parts == pytest.approx(all_parts, rel=1e-5)
            for mine, theirs in zip(gradients, all_gradients, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_a_bank_of_sampled_pairs_tells_less_and_the_same_each_time():
    needs = losses.get("stcd").NEEDS
    banks = [TeacherBank.build(teacher(), WINDOWS.days, needs, Sampling(1, seed)) for seed in (0, 0, 1)]
    at = drawn(1, 5, 0)
    parts = [computed("stcd", BankReader(bank), at, 1)[0] for bank in (*banks, BANK)]
    assert parts[0] == parts[1]
    for other in parts[2:]:
        assert parts[0]["spatial"] != pytest.approx(other["spatial"], rel=1e-4)
        assert parts[0]["temporal"] == pytest.approx(other["temporal"], rel=1e-5)
    # Pairs differ between layers and between days: every row draws for itself.
    first, second = banks[0].spatial_order
    assert len({tuple(row) for row in first}) > 60
    assert not np.array_equal(first[: len(second)], second)


@pytest.mark.parametrize("name", ["scd", "stcd", "tcd", "rd_l2"])
def test_size_of_a_sampled_bank_is_known_before(name):
    needs, sampling = losses.get(name).NEEDS, Sampling(2)
    bank = TeacherBank.build(teacher(), WINDOWS.days, needs, sampling)
    size = sum(a.nbytes for a in (*arrays(bank), *bank.spatial_order))
    assert bank.n_bytes == bank_bytes(teacher(), 3, 48, needs, sampling) == size
    assert bool(bank.spatial_order) == needs.spatial_correlation


@pytest.mark.parametrize("sampling", [None, Sampling(2, 4)])
@pytest.mark.parametrize("at_once", [1, 80, 130, 48 * 5 - 1])
def test_a_day_in_parts_is_the_same_day(monkeypatch, sampling, at_once):
    """Of a large graph the teacher passes a day in parts, and packs a few rows at a time."""
    whole = TeacherBank.build(teacher(), WINDOWS.days, ALL, sampling)
    day, start, x = drawn(2, 5, 0)
    live = LiveTeacher(teacher())(day, start, x)
    monkeypatch.setattr(bank_module, "_AT_ONCE", at_once)
    monkeypatch.setattr(bank_module, "_CHUNK", 30)
    parts = TeacherBank.build(teacher(), WINDOWS.days, ALL, sampling)
    for mine, theirs in zip(arrays(parts), arrays(whole), strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        # Fixed point may round the other way where a product was added in another order.
        tolerance = {"i": 2, "f": 2e-3 if mine.dtype == np.float16 else 2e-5}[mine.dtype.kind]
        np.testing.assert_allclose(mine.astype(np.float64), theirs.astype(np.float64), rtol=0, atol=tolerance)
    again = LiveTeacher(teacher())(day, start, x)
    torch.testing.assert_close(again.prediction, live.prediction)
    for kind in ("temporal", "spatial"):
        torch.testing.assert_close(getattr(again, kind), getattr(live, kind))


@pytest.mark.parametrize("live", [False, True])
def test_roll_out_is_the_teachers_own(live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Window after window through plain forward passes, each forecast fed back; in parts, to half precision."""
    monkeypatch.setattr(bank_module, "_AT_ONCE", 12 * 5 * 7)
    model = teacher()
    told = (
        LiveTeacher(model, steps=4)
        if live
        else BankReader(TeacherBank.build(model, WINDOWS.days, ALL).with_rollout(model, WINDOWS.days, 4))
    )
    day, start, x = drawn(1, 11, 3)
    expected = []
    seen = x.clone()
    with torch.no_grad():
        for _ in range(4):
            expected.append(model(seen[:, -12:, :, None]))
            seen = torch.cat((seen, expected[-1][:, None]), dim=1)
    found = told(day, start, x)
    assert found.rollout is not None
    torch.testing.assert_close(
        found.rollout, torch.stack(expected, dim=1), rtol=2**-11 if not live else 1e-5, atol=1e-4
    )
    torch.testing.assert_close(found.prediction, expected[0], rtol=1e-5, atol=1e-5)


def test_bytes_of_a_bank_with_a_roll_out() -> None:
    model = teacher()
    bank = TeacherBank.build(model, WINDOWS.days, Needs(prediction=True)).with_rollout(model, WINDOWS.days, 9)
    days, steps, _ = WINDOWS.days.shape
    assert bank.n_bytes == bank_bytes(model, days, steps, Needs(prediction=True), rollout_steps=9)
