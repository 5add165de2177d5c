"""RMSprop against TensorFlow 1's formula in double precision."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.training.rmsprop import TFRMSprop


def slow(w: np.ndarray, gradients: list[np.ndarray], lr: float, decay: float, eps: float) -> np.ndarray:
    """``ApplyRMSProp`` of TensorFlow 1.x with momentum 0; rms starts at one."""
    w, rms = w.copy(), np.ones_like(w)
    for g in gradients:
        rms = rms + (g * g - rms) * (1 - decay)
        w = w - lr * g / np.sqrt(rms + eps)
    return w


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 999),
    steps=st.integers(1, 60),
    lr=st.sampled_from([1e-4, 1e-2]),
    decay=st.sampled_from([0.9, 0.5]),
    eps=st.sampled_from([1e-10, 0.1]),
    size=st.sampled_from([1e-8, 1.0, 1e3]),
)
def test_follows_the_formula(seed, steps, lr, decay, eps, size):
    rng = np.random.default_rng(seed)
    shapes = [(3, 4), (5,), ()]
    start = [rng.normal(size=s) for s in shapes]
    gradients = [[np.asarray(rng.normal(size=s) * size) for _ in range(steps)] for s in shapes]
    params = [torch.tensor(w, requires_grad=True) for w in start]
    optimizer = TFRMSprop(params, lr=lr, decay=decay, eps=eps)
    for k in range(steps):
        for p, g in zip(params, gradients, strict=True):
            p.grad = torch.tensor(g[k])
        optimizer.step()
    for p, w, g in zip(params, start, gradients, strict=True):
        np.testing.assert_allclose(p.detach(), slow(w, g, lr, decay, eps), rtol=1e-11, atol=1e-14)


def test_the_protocol_is_the_default():
    (group,) = TFRMSprop([torch.zeros(1, requires_grad=True)]).param_groups
    assert (group["lr"], group["decay"], group["eps"]) == (1e-3, 0.9, 1e-10)


def test_a_parameter_without_a_gradient_stays():
    used, unused = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = TFRMSprop([used, unused], lr=0.1)
    used.grad = torch.ones(2)
    optimizer.step()
    assert unused.tolist() == [1.0, 1.0]
    assert used.tolist() == pytest.approx([0.9, 0.9], abs=1e-6)  # the accumulator is 0.9 * 1 + 0.1 * 1


def test_takes_no_closure():
    with pytest.raises(ValueError, match="no closure"):
        TFRMSprop([torch.zeros(1, requires_grad=True)]).step(lambda: 0.0)


def test_state_goes_round(tmp_path):
    def run(p: torch.Tensor, optimizer: TFRMSprop, first: int, last: int) -> None:
        for k in range(first, last):
            p.grad = torch.full_like(p, k + 0.5)
            optimizer.step()

    whole = torch.ones(3, requires_grad=True)
    run(whole, TFRMSprop([whole], lr=0.1), 0, 8)
    half = torch.ones(3, requires_grad=True)
    optimizer = TFRMSprop([half], lr=0.1)
    run(half, optimizer, 0, 4)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    again = half.detach().clone().requires_grad_()
    other = TFRMSprop([again], lr=0.9)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    run(again, other, 4, 8)
    assert torch.equal(again, whole)
    fresh = half.detach().clone().requires_grad_()
    run(fresh, TFRMSprop([fresh], lr=0.1), 4, 8)
    assert not torch.equal(fresh, whole)


def test_no_trial_waits_for_torchs_compiler():
    """Its import takes a second, in every worker; torch's optimisers begin with it unless kept from it."""
    script = """
import sys
import torch
from kdsearch.training.optimizer import make_optimizer
w = torch.nn.Parameter(torch.ones(3))
optimizer = make_optimizer("rmsprop", [w], 0.1)
optimizer.zero_grad()
w.sum().backward()
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules, float(w.detach().sum()) < 3)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
