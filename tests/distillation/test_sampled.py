"""Sampled node pairs: an estimate of Eq. 10 whose mean is Eq. 10, in loss and gradient."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.distillation import _sampled_passes
from kdsearch.distillation.correlation import CorrelationRows, spatial_correlation_loss, spatial_pairs
from kdsearch.distillation.packed import PackedCorrelation
from kdsearch.distillation.sampled import (
    SampledCorrelation,
    SampledRows,
    draw_orders,
    n_sampled_pairs,
    sampled_distances,
)
from tests.distillation import losses_reference as reference
from tests.distillation.test_correlation import draw, value_and_gradient


def exact_rows(teacher: torch.Tensor, order: np.ndarray, reach: int) -> SampledRows:
    """The teacher ``[B, T, N, C]`` without the rounding of fixed point."""
    batch, steps = teacher.shape[:2]
    places = torch.from_numpy(order)
    pairs = sampled_distances(teacher.flatten(0, 1), places, reach)
    bank = SampledCorrelation(PackedCorrelation(pairs, torch.ones(len(pairs))), places)
    return SampledRows(bank, torch.arange(batch * steps).view(batch, steps))


def packed_rows(teacher: torch.Tensor, reach: int, seed: int = 0) -> SampledRows:
    """The teacher as a bank has it, its rows shuffled so that a wrong one shows."""
    batch, steps, n, _ = teacher.shape
    shuffled = torch.randperm(batch * steps, generator=torch.Generator().manual_seed(5))
    rows = torch.empty_like(shuffled).scatter_(0, shuffled, torch.arange(batch * steps)).view(batch, steps)
    order = torch.from_numpy(draw_orders(batch * steps, n, (seed,)))
    return SampledRows(SampledCorrelation.encode(teacher.flatten(0, 1)[shuffled], order, reach), rows)


@pytest.mark.parametrize(("n", "reach"), [(3, 1), (4, 1), (4, 2), (5, 1), (5, 2), (6, 1), (6, 2), (6, 3)])
def test_mean_over_every_order_is_the_full_loss(n, reach):
    """No statistics: all N! orders are equally likely, so their mean is the expectation."""
    orders = np.array(list(permutations(range(n))), dtype=np.int32)
    student, teacher = draw(0, 1, 1, n, 2), draw(1, 1, 1, n, 3)
    full = value_and_gradient(spatial_correlation_loss, student, teacher)
    leaf = student.clone().requires_grad_()
    many = leaf.expand(-1, len(orders), -1, -1)
    rows = exact_rows(teacher.expand(-1, len(orders), -1, -1), orders, reach)
    value = spatial_correlation_loss(many, rows)
    value.backward()
    assert value.item() == pytest.approx(full[0].item(), rel=1e-12)
    torch.testing.assert_close(leaf.grad, full[1], rtol=1e-10, atol=1e-14)
    # An estimate and not the full loss each time, except where the ring reaches all pairs.
    alone = [float(spatial_correlation_loss(student, exact_rows(teacher, orders[k : k + 1], reach))) for k in (0, 1)]
    everything = n_sampled_pairs(n, reach) == math.comb(n, 2)
    assert (alone[0] == pytest.approx(alone[1], rel=1e-9)) == everything


def test_mean_over_drawn_orders_is_the_full_loss():
    n, reach, draws = 9, 2, 6000
    student, teacher = draw(0, 1, 1, n, 2), draw(1, 1, 1, n, 3)
    full, gradient = value_and_gradient(spatial_correlation_loss, student, teacher)
    rows = exact_rows(teacher.expand(draws, -1, -1, -1), draw_orders(draws, n, (3, 1)), reach)
    many = student.expand(draws, -1, -1, -1).clone().requires_grad_()
    spatial_correlation_loss(many, rows).backward()
    assert many.grad is not None
    found = many.grad[:, 0] * draws  # [draws, N, C], the gradient of each draw
    one_by_one = [
        spatial_correlation_loss(student, SampledRows(rows.bank, rows.rows[k : k + 1])).item() for k in range(draws)
    ]
    for values, expected in ((torch.tensor(one_by_one), full), (found, gradient[0, 0])):
        error = values.std(dim=0) / math.sqrt(draws)
        # Wide enough for some twenty figures of one seed, and tight enough that a bias of a few percent fails.
        assert (4.5 * error < 0.04 * expected.abs().max()).all()
        assert ((values.mean(dim=0) - expected).abs() < 4.5 * error).all()


def test_all_pairs_get_their_turn_alike():
    n, reach, rows = 8, 3, 6000
    orders = draw_orders(rows, n, (0, 0))
    counts = dict.fromkeys(combinations(range(n), 2), 0)
    for order in orders:
        for place in range(n):
            for step in range(1, reach + 1):
                counts[tuple(sorted((int(order[place]), int(order[(place + step) % n]))))] += 1
    share = n_sampled_pairs(n, reach) / math.comb(n, 2)
    spread = math.sqrt(rows * share * (1 - share))
    assert sum(counts.values()) == rows * n_sampled_pairs(n, reach)
    assert all(abs(count - rows * share) < 4.5 * spread for count in counts.values())


@pytest.mark.parametrize("n", [2, 3, 8, 9, 30, 31])
@pytest.mark.parametrize("run", [1, 2])
def test_the_longest_reach_is_the_full_loss(n, run):
    student, teacher = draw(0, 2, 5, n, 2), draw(1, 2, 5, n, 4)
    orders = draw_orders(10, n, (7,))
    full = value_and_gradient(spatial_correlation_loss, student, teacher, run=run)
    found = value_and_gradient(spatial_correlation_loss, student, exact_rows(teacher, orders, n // 2), run=run)
    assert found[0].item() == pytest.approx(full[0].item(), rel=1e-12)
    torch.testing.assert_close(found[1], full[1], rtol=1e-10, atol=1e-14)
    # A row's largest correlation is among all its pairs in either bank, so they round alike.
    bank = CorrelationRows(PackedCorrelation.encode(spatial_pairs(teacher).flatten(0, 1)), torch.arange(10).view(2, 5))
    packed = spatial_correlation_loss(student, packed_rows(teacher, n // 2), run=run).item()
    assert packed == pytest.approx(spatial_correlation_loss(student, bank, run=run).item(), rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(2, 12),
    share=st.floats(0, 1),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    run=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_agrees_with_a_slow_sum_over_the_pairs_of_each_row(n, share, channels, run, seed):
    reach = 1 + round(share * (n // 2 - 1))
    batch, steps = 2, 4
    student, teacher = draw(seed, batch, steps, n, channels[0]), draw(seed + 1, batch, steps, n, channels[1])
    orders = draw_orders(batch * steps, n, (seed,))
    window = steps - run + 1
    total = 0.0
    for b in range(batch):
        for t in range(steps):
            order = orders[b * steps + t]
            pairs = {frozenset((int(order[i]), int(order[(i + d) % n]))) for i in range(n) for d in range(1, reach + 1)}
            assert len(pairs) == n_sampled_pairs(n, reach)
            seen = sum(k <= t < k + window for k in range(run))  # windows of the run that hold this step
            errors = [
                reference.correlation(student[b, t, i], student[b, t, j])
                - reference.correlation(teacher[b, t, i], teacher[b, t, j])
                for i, j in pairs
            ]
            total += seen / (run * window) * sum(e * e for e in errors) / len(errors)
    rows = exact_rows(teacher, orders, reach)
    assert spatial_correlation_loss(student, rows, run=run).item() == pytest.approx(total / batch, rel=1e-10)


@pytest.mark.parametrize("reach", [1, 2])
def test_gradient_by_finite_differences(reach):
    rows = packed_rows(draw(1, 2, 4, 4, 3), reach)
    assert torch.autograd.gradcheck(
        lambda x: spatial_correlation_loss(x, rows, run=2), draw(0, 2, 4, 4, 2).requires_grad_()
    )


@pytest.mark.parametrize(("n", "reach"), [(228, 57), (228, 114), (171, 85), (33, 4), (2, 1)])
@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_single_precision_agrees_with_double(n, reach, channels):
    student, teacher = draw(0, 2, 5, n, channels), draw(1, 2, 5, n, 7)
    rows = packed_rows(teacher, reach)
    exact = value_and_gradient(spatial_correlation_loss, student, rows)
    fast = value_and_gradient(spatial_correlation_loss, student.float(), rows)
    assert fast[0].item() == pytest.approx(exact[0].item(), rel=1e-6)
    assert (fast[1] - exact[1]).abs().max() <= 2e-6 * exact[1].abs().max()
    order = torch.from_numpy(draw_orders(10, n, (1,)))
    features = teacher.flatten(0, 1)
    torch.testing.assert_close(
        sampled_distances(features.float(), order, reach).double(),
        sampled_distances(features, order, reach),
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_pull_nowhere(dtype):
    student = draw(0, 2, 5, 9, 3, dtype=dtype).relu()
    rows = packed_rows(draw(1, 2, 5, 9, 3), 2)
    value, gradient = value_and_gradient(spatial_correlation_loss, student, rows)
    exact = value_and_gradient(spatial_correlation_loss, student.double(), rows)
    assert (gradient - exact[1]).abs().max() <= 2e-6 * exact[1].abs().max()
    value, gradient = value_and_gradient(spatial_correlation_loss, torch.ones_like(student), rows)
    assert value > 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_threads_do_not_change_the_result():
    student, rows = draw(0, 3, 4, 37, 2, dtype=torch.float32), packed_rows(draw(1, 3, 4, 37, 5), 6)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(value_and_gradient(spatial_correlation_loss, student, rows))
    finally:
        torch.set_num_threads(before)
    assert results[0][0].item() == pytest.approx(results[1][0].item(), rel=1e-6)
    assert torch.equal(results[0][1], results[1][1])


def test_the_torch_pass_works_in_parts(monkeypatch):
    """As it does where the gaps of a whole batch would be gigabytes."""
    student, teacher = draw(0, 5, 3, 12, 2), draw(1, 5, 3, 12, 2)
    rows, order = packed_rows(teacher, 4), torch.from_numpy(draw_orders(15, 12, (1,)))
    whole = value_and_gradient(spatial_correlation_loss, student, rows)
    pairs = sampled_distances(teacher.flatten(0, 1), order, 4)
    for chunk in (1, 2 * 4 * 12 * 4):  # one row at a time, and a last part that is smaller
        monkeypatch.setattr(_sampled_passes, "_CHUNK", chunk)
        parts = value_and_gradient(spatial_correlation_loss, student, rows)
        torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(sampled_distances(teacher.flatten(0, 1), order, 4), pairs)


def test_orders_come_from_the_seed():
    first, again, other = draw_orders(4, 20, (1, 0)), draw_orders(4, 20, (1, 0)), draw_orders(4, 20, (1, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len({tuple(row) for row in first}) == 4
    assert np.array_equal(np.sort(first, axis=1), np.tile(np.arange(20), (4, 1)))
    # Pinned: stored results name a seed, and must find the same pairs again.
    assert draw_orders(2, 6, (0, 1)).tolist() == [[1, 4, 3, 0, 2, 5], [5, 1, 3, 2, 4, 0]]


def test_mismatches_are_told():
    student, teacher = draw(0, 2, 4, 6, 2, dtype=torch.float32), draw(1, 2, 4, 6, 2)
    rows = packed_rows(teacher, 2)
    for dtype in (torch.float32, torch.float64):
        with pytest.raises(ValueError, match="width"):
            spatial_correlation_loss(student[:, :, :5].to(dtype), rows)
        with pytest.raises(ValueError, match="do not match"):
            spatial_correlation_loss(student[:, :3].to(dtype), rows)
        with pytest.raises(IndexError):
            spatial_correlation_loss(student.to(dtype), SampledRows(rows.bank, rows.rows + 1))
    with pytest.raises(ValueError, match="1 to 3 places apart"):
        n_sampled_pairs(6, 4)
    order = torch.from_numpy(draw_orders(8, 6, (0,)))
    with pytest.raises(ValueError, match="do not match"):
        sampled_distances(teacher.flatten(0, 1), order[:7], 2)
    with pytest.raises(IndexError, match="graph that has 6"):
        SampledCorrelation(rows.bank.packed, rows.bank.order + 1)
    with pytest.raises(ValueError, match="orders"):
        SampledCorrelation(rows.bank.packed, rows.bank.order[:, :5])
