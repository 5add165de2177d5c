"""Eqs. 7-10: values, gradients, fast paths, the packed bank, runs of windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from kdsearch import rows
from kdsearch.distillation import _passes
from kdsearch.distillation.correlation import (
    CorrelationRows,
    PackedCorrelation,
    spatial_correlation_loss,
    spatial_pairs,
    temporal_correlation_loss,
    temporal_pairs,
)
from tests.distillation import losses_reference as reference

LOSSES = [(spatial_correlation_loss, reference.scd), (temporal_correlation_loss, reference.tcd)]
LOSS_FUNCTIONS = [spatial_correlation_loss, temporal_correlation_loss]


def draw(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def value_and_gradient(loss, student: torch.Tensor, teacher, **more) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = student.clone().requires_grad_()
    value = loss(leaf, teacher, **more)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def banks(teacher: torch.Tensor) -> dict:
    """The bank's form of a teacher's features, shuffled so that a wrong row shows."""
    batch, steps = teacher.shape[:2]
    order = torch.randperm(batch * steps, generator=torch.Generator().manual_seed(5))
    rows = torch.empty_like(order).scatter_(0, order, torch.arange(batch * steps)).view(batch, steps)
    made = {}
    for loss, pairs in (
        (spatial_correlation_loss, spatial_pairs(teacher)),
        (temporal_correlation_loss, temporal_pairs(teacher, steps - 1)),
    ):
        made[loss] = CorrelationRows(PackedCorrelation.encode(pairs.flatten(0, 1)[order]), rows)
    return made


@pytest.mark.parametrize(("loss", "slow"), LOSSES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(2, 7)),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    seed=st.integers(0, 2**31),
)
@example(shape=(1, 2, 2), channels=(4, 1), seed=2)  # nearly equal correlations
def test_agrees_with_the_equation(loss, slow, dtype, shape, channels, seed):
    student, teacher = draw(seed, *shape, channels[0]), draw(seed + 1, *shape, channels[1])
    expected = slow(student.numpy(), teacher.numpy())
    got = loss(student.to(dtype), teacher.to(dtype)).item()
    if dtype == torch.float64:
        assert got == pytest.approx(expected, rel=1e-12)
    else:
        # A mean of squared differences of correlations rounded alike: where these nearly agree its error is theirs
        # times the difference, so it shrinks as the loss's root, not as the loss.
        assert got == pytest.approx(expected, rel=2e-6, abs=1e-6 * expected**0.5)


@pytest.mark.parametrize("loss", LOSS_FUNCTIONS)
@pytest.mark.parametrize("run", [1, 3])
def test_gradient_by_finite_differences(loss, run):
    teacher = draw(1, 2, 5, 4, 3)
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher, run=run), draw(0, 2, 5, 4, 2).requires_grad_())


@pytest.mark.parametrize("loss", LOSS_FUNCTIONS)
@pytest.mark.parametrize(
    ("n", "channels"),
    # two channels have a kernel of their own, which takes four nodes and sixteen pairs at a time
    [(228, 4), (171, 1), (33, 8), (17, 3), *((n, 2) for n in (2, 10, 11, 12, 13, 14, 19, 20, 21, 36, 37, 228))],
)
def test_single_precision_agrees_with_double(loss, n, channels):
    student, teacher = draw(0, 2, 6, n, channels), draw(1, 2, 6, n, 7)
    exact = value_and_gradient(loss, student, teacher)
    fast = value_and_gradient(loss, student.float(), teacher.float())
    assert fast[0].item() == pytest.approx(exact[0].item(), rel=1e-6)
    # A pair closer than single precision resolves may take the other sign; random draws of this size have none.
    assert (fast[1] - exact[1]).abs().max() <= 2e-6 * exact[1].abs().max()


@pytest.mark.parametrize("loss", LOSS_FUNCTIONS)
@pytest.mark.parametrize("n", [228, 31])
def test_bank_agrees_with_features(loss, n):
    student, teacher = draw(0, 3, 6, n, 2), draw(1, 3, 6, n, 9)
    bank = banks(teacher)[loss]
    exact = value_and_gradient(loss, student, teacher)
    for dtype in (torch.float32, torch.float64):
        packed = value_and_gradient(loss, student.to(dtype), bank)
        # The code's error is at most half a step of 1/32767 of the largest correlation and averages out over pairs.
        assert packed[0].item() == pytest.approx(exact[0].item(), rel=1e-4)
        assert (packed[1] - exact[1]).abs().max() <= 1e-4 * exact[1].abs().max()


@pytest.mark.parametrize("loss", LOSS_FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_features_pull_nowhere(loss, dtype):
    student = torch.ones(2, 4, 5, 3, dtype=dtype)
    value, gradient = value_and_gradient(loss, student, draw(0, 2, 4, 5, 2, dtype=dtype))
    assert value > 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("loss", LOSS_FUNCTIONS)
@pytest.mark.parametrize(("n", "channels"), [(9, 3), (9, 2), (31, 2)])
def test_ties_in_some_channels(loss, n, channels):
    """Rectified features are equal in many places: sign(0) = 0 there, and the other channels still pull."""
    student, teacher = draw(0, 2, 5, n, channels).relu(), draw(1, 2, 5, n, 3).relu()
    exact = value_and_gradient(loss, student, teacher)
    fast = value_and_gradient(loss, student.float(), teacher.float())
    assert (fast[1] - exact[1]).abs().max() <= 2e-6 * exact[1].abs().max()


@pytest.mark.parametrize("loss", LOSS_FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("run", [1, 2, 4])
def test_run_is_the_mean_over_its_windows(loss, dtype, run):
    window, batch = 4, 2
    steps = window + run - 1
    student, teacher = draw(0, batch, steps, 6, 2, dtype=dtype), draw(1, batch, steps, 6, 3, dtype=dtype)
    leaf = student.clone().requires_grad_()
    windows = [loss(leaf[:, k : k + window], teacher[:, k : k + window]) for k in range(run)]
    torch.stack(windows).mean().backward()
    value, gradient = value_and_gradient(loss, student, teacher, run=run)
    tolerance = 2e-6 if dtype == torch.float32 else 1e-12
    assert value.item() == pytest.approx(sum(w.item() for w in windows) / run, rel=tolerance)
    assert (gradient - leaf.grad).abs().max() <= tolerance * gradient.abs().max()
    # The bank reaches over one window only.
    lags = temporal_pairs(teacher, window - 1).flatten(0, 1)
    pairs = spatial_pairs(teacher).flatten(0, 1) if loss is spatial_correlation_loss else lags
    bank = CorrelationRows(PackedCorrelation.encode(pairs), torch.arange(batch * steps).view(batch, steps))
    assert loss(student, bank, run=run).item() == pytest.approx(value.item(), rel=1e-3)


def test_compiled_form_agrees_with_the_loop():
    """What CUDA hands to torch.compile, here uncompiled."""
    x = draw(0, 7, 3, 12)
    bank = PackedCorrelation.encode(spatial_pairs(draw(1, 5, 12, 4)))
    rows, weight = torch.tensor([0, 4, 2, 2, 1, 3, 0]), draw(2, 7).abs()
    sums, gradient = _passes.spatial(x, bank, rows, weight)
    whole = _passes.spatial_whole(x, bank.values, bank.scale, rows, weight)
    torch.testing.assert_close(whole[0], sums, rtol=1e-12, atol=0)
    torch.testing.assert_close(whole[1], gradient, rtol=1e-10, atol=1e-14)


def test_every_width_of_a_pruning_is_compiled(monkeypatch):
    """Past its limit of 8 Dynamo says nothing and runs what was to be compiled, with temporaries of [R, N, N]."""
    compilations = []
    monkeypatch.setattr(_passes, "_BACKEND", lambda graph, _: compilations.append(1) or graph.forward)
    _passes._whole.cache_clear()
    bank = PackedCorrelation.encode(spatial_pairs(draw(1, 5, 6, 4)))
    rows, weight = torch.tensor([0, 4, 2]), draw(2, 3).abs()
    for channels in range(1, 34):
        x = draw(channels, 3, channels, 6)
        for found, wanted in zip(
            _passes.compiled(x, bank, rows, weight), _passes.spatial(x, bank, rows, weight), strict=True
        ):
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-14)
    _passes._whole.cache_clear()
    # Those between share a kernel, which is filled with zeros.
    assert len(compilations) == len({*range(1, 9), 12, 16, 24, 32, 48})


def test_threads_do_not_change_the_result(monkeypatch):
    student, teacher = draw(0, 3, 4, 37, 2, dtype=torch.float32), draw(1, 3, 4, 37, 5, dtype=torch.float32)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3, 3):
            torch.set_num_threads(threads)
            results.append([value_and_gradient(loss, student, teacher) for loss in LOSS_FUNCTIONS])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for (value, gradient), (first, first_gradient) in zip(other, results[0], strict=True):
            assert value.item() == pytest.approx(first.item(), rel=1e-6)
            assert torch.equal(gradient, first_gradient)
    assert [v.item() for v, _ in results[1]] == [v.item() for v, _ in results[2]]


def test_without_numba(monkeypatch):
    student, teacher = draw(0, 2, 4, 11, 2, dtype=torch.float32), draw(1, 2, 4, 11, 5, dtype=torch.float32)
    fast = [value_and_gradient(loss, student, teacher) for loss in LOSS_FUNCTIONS]
    monkeypatch.setattr(rows, "_available", lambda: False)
    for (value, gradient), loss in zip(fast, LOSS_FUNCTIONS, strict=True):
        plain_value, plain_gradient = value_and_gradient(loss, student, teacher)
        assert plain_value.item() == pytest.approx(value.item(), rel=1e-6)
        torch.testing.assert_close(plain_gradient, gradient, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("loss", LOSS_FUNCTIONS)
def test_a_diverged_student_shows(loss):
    student = draw(0, 2, 4, 11, 2, dtype=torch.float32)
    student[1, 2, 3, 0] = torch.nan
    assert loss(student, draw(1, 2, 4, 11, 5, dtype=torch.float32)).isnan()


@settings(max_examples=50, deadline=None)
@given(
    rows=st.integers(1, 5),
    width=st.integers(1, 40),
    size=st.sampled_from([0.0, 1e-20, 1e-3, 1.0, 1e6]),
    seed=st.integers(0, 2**31),
)
def test_packing_error_is_bounded(rows, width, size, seed):
    values = draw(seed, rows, width, dtype=torch.float32).abs() * size
    packed = PackedCorrelation.encode(values)
    assert packed.values.dtype == torch.int16
    error = (packed.decode().double() - values.double()).abs().amax(dim=1)
    # Half a step, and the rounding of single precision beside it.
    assert (error <= values.double().amax(dim=1) * (1 / 65534 + 1e-6)).all()


def test_packed_arrays_are_shared_and_may_be_read_only(recwarn):
    packed = PackedCorrelation.encode(draw(0, 6, 10).abs())
    values, scale = packed.arrays()
    values.flags.writeable = scale.flags.writeable = False
    again = PackedCorrelation.from_arrays(values, scale)
    assert again.values.data_ptr() == values.__array_interface__["data"][0]
    assert torch.equal(again.decode(), packed.decode())
    rows = torch.tensor([[4, 0], [1, 1]])
    assert torch.equal(again.decode(rows), packed.decode()[rows])
    del values, scale
    assert torch.equal(again.decode(), packed.decode())
    assert not [w for w in recwarn if "writable" in str(w.message)]
    joined = PackedCorrelation.concatenate([packed, again])
    assert torch.equal(joined.decode(), torch.cat([packed.decode()] * 2))
    assert packed.n_bytes == 6 * 10 * 2 + 6 * 4


def test_pairs_of_a_day_serve_its_windows():
    day = draw(0, 1, 12, 5, 3)
    lags = temporal_pairs(day, 3)
    for start in range(12 - 4 + 1):
        window = temporal_pairs(day[:, start : start + 4], 3)
        for i in range(3):
            np.testing.assert_allclose(window[0, i, : 3 - i], lags[0, start + i, : 3 - i])
    assert torch.equal(lags[0, 10, 1:], torch.zeros(2, 5, dtype=torch.float64))
    pairs = spatial_pairs(day)
    expected = [reference.correlation(day[0, 7, i], day[0, 7, j]) for i in range(5) for j in range(i + 1, 5)]
    np.testing.assert_allclose(pairs[0, 7], expected)


@pytest.mark.parametrize("loss", LOSS_FUNCTIONS)
def test_mismatches_are_told(loss):
    student = draw(0, 2, 4, 5, 2, dtype=torch.float32)
    with pytest.raises(ValueError, match="do not match"):
        loss(student, draw(1, 2, 3, 5, 2, dtype=torch.float32))
    with pytest.raises(ValueError, match="run of 5"):
        loss(student, student, run=5)
    bank = banks(draw(1, 2, 4, 6, 2))[loss]
    with pytest.raises(ValueError, match="width"):
        loss(student, bank)
    fitting = banks(draw(1, 2, 4, 5, 2))[loss]
    with pytest.raises(IndexError, match="of a bank that has 8"):
        loss(student, CorrelationRows(fitting.bank, fitting.rows + 1))


def test_too_little_to_correlate():
    with pytest.raises(ValueError, match="two nodes"):
        spatial_correlation_loss(draw(0, 1, 3, 1, 2), draw(0, 1, 3, 1, 2))
    with pytest.raises(ValueError, match="two time steps"):
        temporal_correlation_loss(draw(0, 1, 3, 2, 2), draw(0, 1, 3, 2, 2), run=3)
    bank = CorrelationRows(PackedCorrelation.encode(temporal_pairs(draw(0, 1, 4, 2, 2), 2)[0]), torch.arange(4)[None])
    with pytest.raises(ValueError, match="holds 2 lags"):
        temporal_correlation_loss(draw(0, 1, 4, 2, 2), bank)


def test_all_pairs_of_time_steps_are_few_launches():
    """On a device each operator is a launch, and there were seven times as many when each lag had its own."""
    calls = []

    class Counted(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            calls.append(function)
            return function(*args, **(kwargs or {}))

    x = draw(0, 2, 10, 3, 5)
    bank = CorrelationRows(PackedCorrelation.encode(draw(1, 20, 9, 5).abs()), torch.arange(20).view(2, 10))
    weight = draw(2, 10, 9).abs()
    _passes.temporal(x, bank, weight)  # the pairs are looked up once
    with Counted():
        loss, gradient = _passes.temporal(x, bank, weight)
    assert len(calls) < 40
    leaf = x.clone().requires_grad_()
    slow = torch.zeros((), dtype=x.dtype)
    known = bank.bank.values.double() * bank.bank.scale.double()[:, None, None]
    for first in range(10):
        for second in range(first + 1, 10):
            told = known[bank.rows[:, first], second - first - 1]
            gap = (leaf[:, first] - leaf[:, second]).abs().mean(dim=1) - told
            slow = slow + weight[first, second - first - 1] * gap.square().sum()
    slow.backward()
    assert loss.item() == pytest.approx(slow.item(), rel=1e-9)
    torch.testing.assert_close(gradient, leaf.grad, rtol=1e-9, atol=1e-12)
