"""Every loss of the registry against its equation, by finite differences, and with the teacher in the bank's form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.distillation.correlation import CorrelationRows, PackedCorrelation, spatial_pairs, temporal_pairs
from kdsearch.distillation.losses import Loss, Scale, build, hyperparameters, names
from kdsearch.distillation.teacher_batch import TeacherBatch
from kdsearch.models.stgcn import STGCN, STUDENT, TEACHER, Features
from tests.distillation import losses_reference as reference

SCALE = Scale(mean=58.0, std=13.0)
PARTS = {
    "none": {"response"},
    "rd_l2": {"response", "distillation"},
    "rd_kl": {"response", "distillation"},
    "ord": {"response", "teacher_share"},
    "tcd": {"response", "teacher_share", "temporal"},
    "scd": {"response", "teacher_share", "spatial"},
    "stcd": {"response", "teacher_share", "temporal", "spatial"},
    "skd": {"response", "distillation"},
    "fitnet": {"response", "distillation"},
    "at": {"response", "distillation"},
    "nst": {"response", "distillation"},
}


def default(name: str, **changed: float) -> Loss:
    return build(name, scale=SCALE, **{h.name: h.default for h in hyperparameters(name)} | changed)


def features(seed: int, batch: int, n: int, widths: tuple[int, ...], run: int = 1, dtype=torch.float64) -> Features:
    """Random features, shaped like those of two blocks with a history of 9 steps."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    a, b, c, d = widths
    temporal = [draw(batch, t + run - 1, n, k) for t, k in zip((7, 5, 3, 2), (a, b, c, d), strict=True)]
    spatial = [draw(batch, t + run - 1, n, k) for t, k in zip((7, 3), (a, c), strict=True)]
    return Features(draw(batch, n) if run == 1 else draw(batch, run, n), temporal, spatial)


def banked(teacher: Features) -> TeacherBatch:
    """The same teacher as the bank hands it out."""

    def rows(pairs: torch.Tensor) -> CorrelationRows:
        index = torch.arange(pairs.shape[0] * pairs.shape[1]).view(pairs.shape[:2])
        return CorrelationRows(PackedCorrelation.encode(pairs.flatten(0, 1)), index)

    return TeacherBatch(
        teacher.prediction,
        [rows(temporal_pairs(f, f.shape[1] - 1)) for f in teacher.temporal],
        [rows(spatial_pairs(f)) for f in teacher.spatial],
        list(teacher.temporal),
        list(teacher.spatial),
    )


def expected(name: str, loss: Loss, student: Features, teacher: Features, target, valid) -> tuple[float, dict]:
    """Total and parts by the slow equations."""
    y, z, goal = student.prediction.numpy(), teacher.prediction.numpy(), target.numpy()
    ok = np.ones(y.shape, bool) if valid is None else valid.numpy()
    temporal = [(s.numpy(), t.numpy()) for s, t in zip(student.temporal, teacher.temporal, strict=True)]
    spatial = [(s.numpy(), t.numpy()) for s, t in zip(student.spatial, teacher.spatial, strict=True)]
    task = reference.squared(y, goal, ok)
    if name == "none":
        return task, {"response": task}
    if name in ("rd_l2", "rd_kl"):
        kd = reference.squared(y, z, ok) if name == "rd_l2" else reference.kl(y, z, SCALE.mean, SCALE.std, ok)
        return loss.beta * kd + (1 - loss.beta) * task, {"response": task, "distillation": kd}
    if name in ("ord", "tcd", "scd", "stcd"):
        response, share = reference.ord_(y, z, goal, loss.alpha1, ok)
        parts = {"response": response, "teacher_share": share}
        total = response
        mix = {"ord": 0.0, "tcd": 0.0, "scd": 1.0}.get(name) if name != "stcd" else loss.alpha2
        if name in ("tcd", "stcd"):
            parts["temporal"] = float(np.mean([reference.tcd(*pair) for pair in temporal]))
            total += loss.alpha3 * (1 - mix) * parts["temporal"]
        if name in ("scd", "stcd"):
            parts["spatial"] = float(np.mean([reference.scd(*pair) for pair in spatial]))
            total += loss.alpha3 * mix * parts["spatial"]
        return total, parts
    if name == "skd":
        kd = reference.graph_matching(*(f.reshape(len(f), -1, f.shape[-1]) for f in temporal[3]))
        return (1 - loss.alpha) * task + loss.alpha * kd, {"response": task, "distillation": kd}
    if name == "fitnet":
        kd = reference.hint(*temporal[1], loss.regressor.weight.detach().numpy(), loss.regressor.bias.detach().numpy())
    elif name == "at":
        kd = float(np.mean([reference.attention(*pair) for pair in temporal + spatial]))
    else:
        kd = float(np.mean([reference.selectivity(*temporal[k]) for k in (1, 3)]))
    return task + loss.weight * kd, {"response": task, "distillation": kd}


def test_all_of_them_are_here():
    assert set(PARTS) == set(names())


@pytest.mark.parametrize("name", PARTS)
@settings(max_examples=6, deadline=None)
@given(batch=st.integers(1, 3), n=st.integers(2, 5), seed=st.integers(0, 2**30), masked=st.booleans(), data=st.data())
def test_agrees_with_its_equation(name, batch, n, seed, masked, data):
    student, teacher = features(seed, batch, n, (2, 3, 2, 4)), features(seed + 1, batch, n, (3, 5, 4, 6))
    generator = torch.Generator().manual_seed(seed + 2)
    target = torch.randn(batch, n, generator=generator, dtype=torch.float64)
    valid = None
    if masked:
        valid = torch.rand(batch, n, generator=generator) < 0.6
        valid[0, :2] = True
        target[~valid] = torch.nan
    values = {h.name: data.draw(st.floats(h.low, min(h.high, 2.0)), label=h.name) for h in hyperparameters(name)}
    loss = build(name, scale=SCALE, **values)
    loss.prepare(student, teacher)
    terms = loss(student, teacher, target, valid)
    total, parts = expected(name, loss, student, teacher, target, valid)
    assert terms.total.item() == pytest.approx(total, rel=1e-9, abs=1e-12)
    assert {k: v.item() for k, v in terms.parts.items()} == pytest.approx(parts, rel=1e-9, abs=1e-12)
    assert set(terms.parts) == PARTS[name]
    assert not any(v.requires_grad for v in terms.parts.values())


@pytest.mark.parametrize("name", PARTS)
def test_gradient_by_finite_differences(name):
    student, teacher = features(0, 2, 4, (2, 3, 2, 4)), features(1, 2, 4, (3, 5, 4, 6))
    target = features(2, 2, 4, (1, 1, 1, 1)).prediction
    loss = default(name)
    loss.prepare(student, teacher)
    leaves = [student.prediction, *student.temporal, *student.spatial]
    weights = list(loss.parameters())

    def total(*given: torch.Tensor) -> torch.Tensor:
        return loss(Features(given[0], list(given[1:5]), list(given[5:7])), teacher, target).total

    for leaf in leaves:
        leaf.requires_grad_()
    assert torch.autograd.gradcheck(total, (*leaves, *weights))


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bank_gives_what_features_give(name, dtype):
    student, teacher = features(0, 3, 6, (2, 3, 2, 4), dtype=dtype), features(1, 3, 6, (3, 5, 4, 6), dtype=dtype)
    target = features(2, 3, 6, (1, 1, 1, 1), dtype=dtype).prediction
    loss = default(name)
    loss.prepare(student, teacher)
    live, stored = loss(student, teacher, target), loss(student, banked(teacher), target)
    assert stored.total.item() == pytest.approx(live.total.item(), rel=1e-4)
    for part, value in live.parts.items():
        assert stored.parts[part].item() == pytest.approx(value.item(), rel=1e-4)


@pytest.mark.parametrize("name", PARTS)
def test_reads_no_more_than_it_needs(name):
    """With everything else of the teacher taken away, the loss still works and gives the same."""
    student, teacher = features(0, 2, 4, (2, 3, 2, 4)), features(1, 2, 4, (3, 5, 4, 6))
    target = features(2, 2, 4, (1, 1, 1, 1)).prediction
    loss = default(name)
    loss.prepare(student, teacher)
    whole, needs = banked(teacher), loss.needs
    poor = TeacherBatch(
        whole.prediction if needs.prediction else torch.full_like(whole.prediction, torch.nan),
        whole.temporal_correlation if needs.temporal_correlation else None,
        whole.spatial_correlation if needs.spatial_correlation else None,
        [f if k in needs.temporal_features else None for k, f in enumerate(whole.temporal)],
        [f if k in needs.spatial_features else None for k, f in enumerate(whole.spatial)],
    )
    given = poor if needs.teacher else None
    assert loss(student, given, target).total.item() == loss(student, whole, target).total.item()
    if needs.teacher:
        with pytest.raises(ValueError, match="teacher"):
            loss(student, None, target)


@pytest.mark.parametrize("name", PARTS)
def test_run_is_the_mean_over_its_windows(name):
    """All but ``ord``'s scaling over the batch, which sees all windows of the run at once."""
    run = 3
    student, teacher = features(0, 2, 4, (2, 3, 2, 4), run), features(1, 2, 4, (3, 5, 4, 6), run)
    target = features(2, 2, 4, (1, 1, 1, 1), run).prediction
    loss = default(name)
    loss.prepare(student, teacher)

    def window(f: Features, k: int) -> Features:
        def cut(layers: list[torch.Tensor]) -> list[torch.Tensor]:
            return [x[:, k : k + x.shape[1] - run + 1] for x in layers]

        return Features(f.prediction[:, k], cut(f.temporal), cut(f.spatial))

    terms = loss(student, teacher, target)
    each = [loss(window(student, k), window(teacher, k), target[:, k]) for k in range(run)]
    for part in PARTS[name] - ({"response", "teacher_share"} if "teacher_share" in PARTS[name] else set()):
        mean = sum(e.parts[part].item() for e in each) / run
        assert terms.parts[part].item() == pytest.approx(mean, rel=1e-10)


@pytest.mark.parametrize("name", PARTS)
def test_trains_a_network(name):
    """Real students and teachers: some steps bring the loss down, and the teacher gets no gradient."""
    torch.manual_seed(0)
    n = 7
    kernel = torch.stack([torch.eye(n), torch.rand(n, n) / n, torch.rand(n, n) / n])
    student, teacher = STGCN(n, STUDENT, kernel), STGCN(n, TEACHER, kernel)
    x, target = torch.randn(6, 12, n, 1), torch.randn(6, n)
    known = teacher.features(x)
    loss = default(name)
    loss.prepare(student.features(x), known)
    weights = [*student.parameters(), *loss.parameters()]
    optimiser = torch.optim.Adam(weights, lr=3e-3)
    totals = []
    for _ in range(25):
        optimiser.zero_grad()
        terms = loss(student.features(x), known, target)
        loss.backward(terms, weights, scale=6 * n / 2)
        optimiser.step()
        totals.append(terms.total.item())
    assert totals[-1] < 0.97 * totals[0]
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize("name", sorted(set(PARTS) - {"skd"}))
def test_backward_scales_the_gradient(name):
    student, teacher = features(0, 2, 4, (2, 3, 2, 4)), features(1, 2, 4, (3, 5, 4, 6))
    target = features(2, 2, 4, (1, 1, 1, 1)).prediction
    leaf = student.prediction.requires_grad_()
    loss = default(name)
    loss.prepare(student, teacher)
    loss(student, teacher, target).total.backward()
    plain, leaf.grad = leaf.grad, None
    loss.backward(loss(student, teacher, target), [], scale=4.0)
    torch.testing.assert_close(leaf.grad, 4.0 * plain)


def test_no_valid_reading_means_no_response():
    student, teacher = features(0, 2, 4, (2, 3, 2, 4)), features(1, 2, 4, (3, 5, 4, 6))
    student.prediction.requires_grad_()
    nothing, target = torch.zeros(2, 4, dtype=torch.bool), torch.full((2, 4), torch.nan, dtype=torch.float64)
    for name in ("none", "rd_l2", "rd_kl", "ord"):
        student.prediction.grad = None
        terms = default(name)(student, teacher, target, nothing)
        terms.total.backward()
        assert terms.total.item() == 0.0
        assert torch.equal(student.prediction.grad, torch.zeros_like(student.prediction))


def test_ord_with_a_perfect_or_even_teacher_follows_the_target():
    """All D equal: min-max scaling has no range, and the reading is D = 0."""
    student, teacher = features(0, 2, 4, (2, 3, 2, 4)), features(1, 2, 4, (3, 5, 4, 6))
    terms = default("ord", alpha1=0.0)(student, teacher, teacher.prediction)
    assert terms.parts["teacher_share"].item() == 0.0
    assert terms.total.item() == pytest.approx(((student.prediction - teacher.prediction) ** 2).mean().item())


def test_ord_share_falls_with_alpha1():
    student, teacher = features(0, 8, 5, (1, 1, 1, 1)), features(1, 8, 5, (1, 1, 1, 1))
    target = features(2, 8, 5, (1, 1, 1, 1)).prediction
    shares = [
        default("ord", alpha1=a)(student, teacher, target).parts["teacher_share"].item() for a in (0.0, 0.2, 0.6, 1.0)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(39 / 40)  # all but the smallest
    assert shares[-1] == 0.0


def test_kl_is_the_squared_error_near_the_mean_speed():
    teacher = torch.zeros(1, 3, dtype=torch.float64)  # z = 0: the mean
    student = torch.tensor([[1e-3, -2e-3, 5e-4]], dtype=torch.float64)
    loss = build("rd_kl", scale=SCALE, beta=1.0)
    got = loss(Features(student, [], []), Features(teacher, [], []), teacher).total.item()
    assert got == pytest.approx((student**2).mean().item(), rel=1e-3)


def test_kl_of_near_forecasts_is_no_difference_of_large_numbers():
    teacher = torch.tensor([[0.1, -0.2, 0.05]], dtype=torch.float64)
    student = teacher + torch.tensor([[2e-3, -3e-3, 1e-3]], dtype=torch.float64)  # some 0.02 mph
    loss = build("rd_kl", scale=SCALE, beta=1.0)
    exact, single = (
        loss(Features(s, [], []), Features(t, [], []), t).total.item()
        for s, t in ((student, teacher), (student.float(), teacher.float()))
    )
    assert single == pytest.approx(exact, rel=5e-3)
