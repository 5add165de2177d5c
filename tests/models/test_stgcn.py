"""The network against an independent one, its time-equivariance, its roll-out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.data import Dataset, Windows, load
from kdsearch.models.stgcn import BASE, CHANNELS, STGCN, STUDENT, TEACHER, Layout
from tests.conftest import DECLARATIONS
from tests.models import stgcn_reference as reference
from tests.training.tiny import randomised

TABLE_1 = [
    (228, TEACHER, 333_604),
    (228, BASE, 48_628),
    (228, STUDENT, 10_144),
    (170, TEACHER, 296_426),
    (170, BASE, 39_290),
    (170, STUDENT, 7_766),
]


def basis(n: int, seed: int = 0, ks: int = 3) -> torch.Tensor:
    """Not symmetric, so that a transposed product would show."""
    generator = torch.Generator().manual_seed(seed)
    rest = 0.3 * torch.randn(ks - 1, n, n, generator=generator, dtype=torch.float64)
    return torch.cat((torch.eye(n, dtype=torch.float64)[None], rest))


def network(n: int, channels, seed: int = 0, **sizes: int) -> STGCN:
    """In double precision, all parameters random."""
    kernel = basis(n, seed, sizes.get("ks", 3))
    model = STGCN(n, channels, kernel, **sizes).double()
    model.graph_kernel = kernel
    return randomised(model, seed)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def compare(model: STGCN, x: torch.Tensor) -> None:
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    blocks = len(model.channels)
    ko = model.n_his - 2 * blocks * (model.kt - 1)
    wanted = reference.network(x.numpy(), weights, model.graph_kernel.numpy(), blocks, model.kt, ko)
    with torch.no_grad():
        found = model.features(x)
    prediction = wanted["prediction"]
    if x.shape[1] == model.n_his:
        prediction = prediction[:, 0]
    np.testing.assert_allclose(found.prediction, prediction, rtol=1e-9, atol=1e-9)
    for kind in ("temporal", "spatial"):
        for mine, theirs in zip(getattr(found, kind), wanted[kind], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("n", "channels", "wanted"), TABLE_1)
def test_parameters_of_table_1(n, channels, wanted):
    model = STGCN(n, channels, torch.zeros(3, n, n))
    assert model.n_parameters() == wanted
    assert sum(p.numel() for p in model.state_dict().values()) == wanted


@pytest.mark.parametrize("channels", CHANNELS.values(), ids=CHANNELS)
def test_equals_the_slow_network(channels):
    compare(network(5, channels, seed=1), draw(2, 12, 5, 1))


# Fewer channels after more, in every place: residuals that map, that pad, and that do neither.
WIDTHS = st.integers(1, 4)


@settings(max_examples=30, deadline=None)
@given(a=WIDTHS, b=WIDTHS, c=WIDTHS, d=WIDTHS, n=st.integers(2, 4), steps=st.integers(12, 16), seed=st.integers(0, 999))
def test_equals_the_slow_network_at_any_width_and_length(a, b, c, d, n, steps, seed):
    compare(network(n, ((1, a, b), (b, c, d)), seed), draw(2, steps, n, 1, seed=seed))


@pytest.mark.parametrize(
    ("channels", "sizes"), [(((1, 2, 3),), {"n_his": 6}), (STUDENT, {"ks": 2}), (STUDENT, {"kt": 2, "n_his": 7})]
)
def test_equals_the_slow_network_at_other_sizes(channels, sizes):
    compare(network(3, channels, **sizes), draw(2, sizes.get("n_his", 12) + 1, 3, 1))


@settings(max_examples=15, deadline=None)
@given(a=WIDTHS, b=WIDTHS, n=st.integers(1, 4), seed=st.integers(0, 99))
def test_gains_of_rank_one_are_a_factor_of_the_node_times_one_of_the_channel(a, b, n, seed):
    """A network with them computes what the published one does with their products."""
    blocks = ((1, a, b), (b, a, 3))
    small = network(n, replace(Layout.of(blocks), affine="rank1"), seed)
    whole = network(n, blocks)
    weights = dict(small.named_parameters())
    full = {name: weights[name] for name, _ in whole.named_parameters() if not name.endswith(("gamma", "beta"))}
    for norm in ("blocks.0.norm", "blocks.1.norm", "head.norm"):
        gain, node_gain, shift, node_shift, slope = (
            weights[f"{norm}.{part}"] for part in ("gain", "node_gain", "shift", "node_shift", "slope")
        )
        full[f"{norm}.gamma"] = torch.einsum("nk,c->nc", node_gain, gain)
        full[f"{norm}.beta"] = shift + torch.einsum("nk,c->nc", node_shift, slope)
    whole.load_state_dict({name: value.detach() for name, value in full.items()})
    whole.graph_kernel = small.graph_kernel
    x = draw(2, 14, n, 1, seed=seed)
    torch.testing.assert_close(small(x), whole(x), rtol=1e-10, atol=1e-10)


def test_initial_gains_of_rank_one_are_those_published():
    small, whole = (
        STGCN(4, replace(Layout.of(STUDENT), affine=affine), basis(4).float()).blocks[0].norm
        for affine in ("rank1", "full")
    )
    x = draw(4, 2, 5, 4).float()
    torch.testing.assert_close(small(x), whole(x))


def test_initial_weights():
    """Biases zero, gammas one, weights within Glorot's limit and not all alike."""
    model = STGCN(4, BASE, torch.zeros(3, 4, 4))
    for name, p in model.named_parameters():
        if name.endswith(("bias", "beta")):
            assert not p.any()
        elif name.endswith("gamma"):
            assert (p == 1).all()
        else:
            # TensorFlow counts the kernel's width in both fans; the rows of a weight have it already.
            width = 4 if name == "head.temporal_in.weight" else 3 if ".temporal_" in name and "blocks" in name else 1
            width = 1 if name.endswith("residual") else width
            fans = p.shape[0] + width * p.shape[1]
            limit = (6 / fans) ** 0.5
            assert p.abs().max() <= limit
            assert p.abs().max() > 0.5 * limit


def windowed(model: STGCN, windows: Windows, day: int) -> dict:
    """All windows of one day, each on its own."""
    start = torch.arange(windows.per_day)
    x = windows.inputs(torch.full_like(start, day), start)
    parts = [model.features(part.unsqueeze(-1)) for part in x.to(model.graph_kernel.dtype).split(64)]
    return {
        "prediction": torch.cat([p.prediction for p in parts]),
        "temporal": [torch.cat(layer) for layer in zip(*(p.temporal for p in parts), strict=True)],
        "spatial": [torch.cat(layer) for layer in zip(*(p.spatial for p in parts), strict=True)],
    }


@torch.no_grad()
def check_equivariance(dataset: Dataset, channels, dtype: torch.dtype, tolerance: float) -> None:
    model = STGCN(dataset.n_nodes, channels, torch.tensor(dataset.graph_kernel)).to(dtype)
    randomised(model, scale=0.2)
    windows = Windows(dataset, "train")
    one_pass = model.features(windows.days[1][None, :, :, None].to(dtype))
    each = windowed(model, windows, 1)
    count = windows.per_day
    torch.testing.assert_close(one_pass.prediction[0, :count], each["prediction"], rtol=tolerance, atol=tolerance)
    for kind in ("temporal", "spatial"):
        for day, alone in zip(getattr(one_pass, kind), each[kind], strict=True):
            steps = alone.shape[1]
            seen = day[0].unfold(0, steps, 1)[:count].permute(0, 3, 1, 2)
            torch.testing.assert_close(seen, alone, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-12)])
def test_one_pass_over_a_day_is_every_window_of_it(demo, dtype, tolerance):
    check_equivariance(demo, BASE, dtype, tolerance)


@pytest.mark.real
def test_one_pass_over_a_real_day_is_every_window_of_it(real_data: Path):
    check_equivariance(load(DECLARATIONS / "pemsd7-week.toml", real_data), STUDENT, torch.float32, 2e-5)


def naive(model: STGCN, x: torch.Tensor, steps: int) -> torch.Tensor:
    """Feed each prediction back and shift the window by one."""
    out = []
    for _ in range(steps):
        out.append(model(x[:, -model.n_his :].unsqueeze(-1)))
        x = torch.cat((x, out[-1][:, None]), dim=1)
    return torch.stack(out, dim=1)


@settings(max_examples=15, deadline=None)
@given(steps=st.integers(1, 14), b=WIDTHS, c=WIDTHS, seed=st.integers(0, 99))
def test_roll_out_is_the_prediction_fed_back(steps, b, c, seed):
    model = network(3, ((1, 2, b), (b, c, 3)), seed)
    x = draw(2, 12, 3, seed=seed)
    rolled, features = model.roll_out(x, steps)
    torch.testing.assert_close(rolled, naive(model, x, steps), rtol=1e-10, atol=1e-10)
    alone = model.features(x.unsqueeze(-1))
    torch.testing.assert_close(features.prediction, alone.prediction)
    for kind in ("temporal", "spatial"):
        for a, b_ in zip(getattr(features, kind), getattr(alone, kind), strict=True):
            torch.testing.assert_close(a, b_)


def test_gradient_through_the_roll_out():
    model = network(3, STUDENT, 5)
    x, weight = draw(2, 12, 3).requires_grad_(), draw(2, 9, 3, seed=1)
    wanted = [x, *model.parameters()]
    slow = torch.autograd.grad((naive(model, x, 9) * weight).sum(), wanted)
    fast = torch.autograd.grad((model.roll_out(x, 9)[0] * weight).sum(), wanted)
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
    assert all(g.abs().sum() > 0 for g in fast)


def test_gradient_by_finite_differences():
    model = network(2, ((1, 2, 1),), n_his=6)
    assert torch.autograd.gradcheck(lambda x: model.features(x).prediction, draw(1, 7, 2, 1).requires_grad_())


def test_what_does_not_fit_is_refused():
    kernel = torch.zeros(3, 4, 4)
    with pytest.raises(ValueError, match=r"graph_kernel must be \[3, 5, 5\], got \[3, 4, 4\]"):
        STGCN(5, STUDENT, kernel)
    with pytest.raises(ValueError, match="do not meet"):
        STGCN(4, ((1, 2, 4), (3, 2, 8)), kernel)
    with pytest.raises(ValueError, match="too short"):
        STGCN(4, STUDENT, kernel, n_his=8)
    model = STGCN(4, STUDENT, kernel)
    with pytest.raises(ValueError, match="11 time steps"):
        model.features(torch.zeros(1, 11, 4, 1))
    with pytest.raises(RuntimeError):
        model.features(torch.zeros(1, 12, 5, 1))


def test_the_graph_is_no_weight():
    first, second = STGCN(4, STUDENT, basis(4, 0)), STGCN(4, STUDENT, basis(4, 1))
    assert not any("kernel" in name for name in first.state_dict())
    second.load_state_dict(first.state_dict())
    x = torch.ones(1, 12, 4, 1)
    assert not torch.equal(first(x), second(x))
