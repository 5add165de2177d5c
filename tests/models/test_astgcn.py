"""ASTGCN against the equations of Guo et al. 2019, index by index in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from kdsearch.data import Windows
from kdsearch.distillation import losses
from kdsearch.models.astgcn import ASTGCN, SpatialAttention, TemporalAttention, attended_chebyshev
from kdsearch.training.evaluate import evaluate
from kdsearch.training.fit import Trainer, fit
from kdsearch.training.settings import FitSettings
from tests.training.tiny import tiny

B, N, C, T, K, F = 2, 4, 3, 5, 3, 2


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + np.exp(-x))


def numbers(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def softmax_of_columns(scores: np.ndarray) -> np.ndarray:
    out = np.empty_like(scores)
    for j in range(scores.shape[1]):
        top = [np.exp(scores[i, j]) for i in range(scores.shape[0])]
        for i in range(scores.shape[0]):
            out[i, j] = top[i] / sum(top)
    return out


def slow_temporal(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """E_ij = sum_k Ve_ik sigmoid(sum_n (sum_c (sum_m x_mci u1_m) u2_cn) (sum_c u3_c x_ncj) + be_kj), softmax over i."""
    n, c, t = x.shape
    product = np.zeros((t, t))
    for i, j in itertools.product(range(t), repeat=2):
        for s in range(n):
            left = sum(sum(x[m, k, i] * w["u1"][m] for m in range(n)) * w["u2"][k, s] for k in range(c))
            product[i, j] += left * sum(w["u3"][k] * x[s, k, j] for k in range(c))
    scores = np.zeros((t, t))
    for i, j, k in itertools.product(range(t), repeat=3):
        scores[i, j] += w["ve"][i, k] * sigmoid(product[k, j] + w["be"][0, k, j])
    return softmax_of_columns(scores)


def slow_spatial(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    n, c, t = x.shape
    product = np.zeros((n, n))
    for i, j in itertools.product(range(n), repeat=2):
        for s in range(t):
            left = sum(sum(x[i, k, r] * w["w1"][r] for r in range(t)) * w["w2"][k, s] for k in range(c))
            product[i, j] += left * sum(w["w3"][k] * x[j, k, s] for k in range(c))
    scores = np.zeros((n, n))
    for i, j, k in itertools.product(range(n), repeat=3):
        scores[i, j] += w["vs"][i, k] * sigmoid(product[k, j] + w["bs"][0, k, j])
    return softmax_of_columns(scores)


def slow_chebyshev(x: np.ndarray, kernel: np.ndarray, attention: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """out_ift = sum_k sum_j (T_k * S')_ji sum_c x_jct theta_kcf."""
    n, c, t = x.shape
    out = np.zeros((n, weight.shape[2], t))
    for i, f, s, k, j in itertools.product(range(n), range(weight.shape[2]), range(t), range(len(kernel)), range(n)):
        mixed = sum(x[j, m, s] * weight[k, m, f] for m in range(c))
        out[i, f, s] += kernel[k, j, i] * attention[j, i] * mixed
    return out


@pytest.mark.parametrize(
    ("module", "slow", "size"), [(TemporalAttention, slow_temporal, T), (SpatialAttention, slow_spatial, N)]
)
def test_attention_is_that_of_the_equations(module, slow, size):
    attention = module(N, C, T)
    x = torch.randn(B, N, C, T)
    found = attention(x).detach().numpy()
    assert found.shape == (B, size, size)
    for b in range(B):
        np.testing.assert_allclose(found[b], slow(x[b].numpy(), numbers(attention)), rtol=1e-10)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_graph_convolution_is_that_of_the_equation():
    x, kernel = torch.randn(B, N, C, T), torch.randn(K, N, N)
    attention, weight = torch.rand(B, N, N), torch.randn(K, C, F)
    found = attended_chebyshev(x, kernel, attention, weight).numpy()
    for b in range(B):
        slow = slow_chebyshev(x[b].numpy(), kernel.numpy(), attention[b].numpy(), weight.numpy())
        np.testing.assert_allclose(found[b], slow, rtol=1e-10)


def test_a_block_is_the_published_sequence():
    """Attention in time weighs the input of the spatial attention only; the convolution reads the plain input."""
    model = ASTGCN(N, torch.randn(K, N, N), n_his=T, n_pred=2, filters=F, blocks=1)
    x = torch.randn(1, N, 1, T)
    (block,) = model.blocks
    found = block(x, model.graph_kernel)[0].detach().numpy()
    raw, w = x[0].numpy(), numbers(block)
    part = {name: numbers(getattr(block, name)) for name in ("temporal_attention", "spatial_attention")}
    steps = slow_temporal(raw, part["temporal_attention"])
    attended = np.einsum("nci,ij->ncj", raw, steps)
    kernel = model.graph_kernel.numpy()
    mixed = slow_chebyshev(raw, kernel, slow_spatial(attended, part["spatial_attention"]), w["weight"]).clip(min=0)
    padded = np.pad(mixed, ((0, 0), (0, 0), (1, 1)))
    out = np.zeros((N, F, T))
    for n, f, t in itertools.product(range(N), range(F), range(T)):
        time = w["time.bias"][f] + sum(
            w["time.weight"][f, g, 0, k] * padded[n, g, t + k] for g in range(F) for k in range(3)
        )
        residual = w["residual.bias"][f] + w["residual.weight"][f, 0, 0, 0] * raw[n, 0, t]
        out[n, f, t] = max(0.0, time + residual)
    mean, variance = out.mean(axis=1, keepdims=True), out.var(axis=1, keepdims=True)
    scaled = (out - mean) / np.sqrt(variance + 1e-5)
    expected = scaled * w["norm.weight"][None, :, None] + w["norm.bias"][None, :, None]
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def test_it_trains_in_the_one_loop_and_the_same_twice():
    torch.set_default_dtype(torch.float32)
    data = tiny()

    def trained() -> tuple[ASTGCN, list[float]]:
        torch.manual_seed(3)
        model = ASTGCN(data.n_nodes, torch.tensor(data.graph_kernel), filters=4)
        settings = FitSettings(epochs=6, batch_size=16, learning_rate=3e-3, optimizer="adam", rollout_steps=9)
        result = fit(Trainer(model, data, losses.build("none"), settings))
        return model, [r.score for r in result.history]

    model, scores = trained()
    assert min(scores[1:]) < scores[0]
    assert trained()[1] == scores
    figures = evaluate(model.eval(), data, "validation")
    assert len(figures) == 9
    assert all(np.isfinite(list(figures.values())))


def test_more_steps_than_it_has_are_refused():
    data = tiny()
    model = ASTGCN(data.n_nodes, torch.tensor(data.graph_kernel), n_pred=3, filters=2)
    x = Windows(data, "test").days[:1, :12].double()
    assert model.roll_out(x, 2)[0].shape == (1, 2, data.n_nodes)
    with pytest.raises(ValueError, match="forecasts 3 steps"):
        model.roll_out(x, 4)
    with pytest.raises(ValueError, match="graph_kernel"):
        ASTGCN(5, torch.tensor(data.graph_kernel))
