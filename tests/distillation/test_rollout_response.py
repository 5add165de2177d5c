"""Response terms of a roll-out and absolute errors, against slow loops in double precision."""

from __future__ import annotations

import pytest
import torch

from kdsearch.distillation import losses
from kdsearch.distillation.losses import Scale
from kdsearch.models.stgcn import Features

B, S, N = 3, 4, 5
MEAN, STD = 55.0, 10.0


@pytest.fixture(params=[False, True], ids=["all valid", "gaps"])
def drawn(request: pytest.FixtureRequest) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    generator = torch.Generator().manual_seed(2)
    y, t, target = (torch.randn(B, S, N, generator=generator, dtype=torch.float64) for _ in range(3))
    t = target + 0.3 * t * torch.arange(1, S + 1)[:, None]  # errors grow with the steps
    valid = torch.rand(B, S, N, generator=generator) > 0.3 if request.param else None
    if valid is not None:
        target = torch.where(valid, target, 0.0)
    return y, t, target, valid


def slow(name: str, error: str, beta: float, alpha1: float, y, t, target, valid) -> float:
    def size(difference: float) -> float:
        return difference**2 if error == "squared" else abs(difference)

    total = count = 0.0
    for s in range(S):
        kept = [(b, i) for b in range(B) for i in range(N) if valid is None or bool(valid[b, s, i])]
        d = {(b, i): abs(float(t[b, s, i] - target[b, s, i])) for b, i in kept}
        low, high = min(d.values()), max(d.values())
        for b, i in kept:
            own, theirs, goal = (float(x[b, s, i]) for x in (y, t, target))
            if name == "none":
                total += size(own - goal)
            elif name == "rd_l2":
                total += beta * size(own - theirs) + (1 - beta) * size(own - goal)
            elif name == "rd_kl":
                p, q = (max(z * STD + MEAN, 0.01 * MEAN) for z in (theirs, own))
                divergence = (p * torch.tensor(p / q).log().item() - p + q) * 2 * MEAN / STD**2
                total += beta * divergence + (1 - beta) * size(own - goal)
            else:
                total += size(own - (theirs if (d[b, i] - low) / (high - low) > alpha1 else goal))
            count += 1
    return total / count


@pytest.mark.parametrize("error", ["squared", "absolute"])
@pytest.mark.parametrize("name", ["none", "rd_l2", "rd_kl", "ord", "stcd"])
def test_every_step_of_a_roll_out(name: str, error: str, drawn) -> None:
    values = {h.name: h.default for h in losses.hyperparameters(name)}
    loss = losses.build(name, scale=Scale(MEAN, STD), error=error, **values)
    y, t, target, valid = drawn
    found, parts = loss.response(y, t, target, valid, by_step=True)
    expected = slow(name, error, values.get("beta", 0.0), values.get("alpha1", 0.0), y, t, target, valid)
    assert found.item() == pytest.approx(expected, rel=1e-6)
    assert "response" in parts


@pytest.mark.parametrize("name", ["none", "rd_l2", "ord"])
def test_absolute_error_of_one_step(name: str) -> None:
    """What ``forward`` pays is the response term of its forecasts."""
    generator = torch.Generator().manual_seed(4)
    y, t, target = (torch.randn(B, N, generator=generator, dtype=torch.float64) for _ in range(3))
    values = {h.name: h.default for h in losses.hyperparameters(name)}
    terms = {}
    for error in ("squared", "absolute"):
        loss = losses.build(name, error=error, **values)
        terms[error] = loss(Features(y, [], []), Features(t, [], []), target).total.item()
        assert terms[error] == loss.response(y, t, target, None)[0].item()
    assert terms["squared"] != terms["absolute"]
    if name == "none":
        assert terms["absolute"] == pytest.approx((y - target).abs().mean().item())


def test_unknown_error() -> None:
    with pytest.raises(ValueError, match="squared or absolute"):
        losses.build("none", error="cubic")


def test_parts_of_the_response_are_means_over_all_steps(drawn) -> None:
    """So that the share of Table 6 is one of all forecasts, not of the first step's."""
    y, t, target, valid = drawn
    loss = losses.build("ord", alpha1=0.3)
    at = [loss.response(y[:, s], t[:, s], target[:, s], None if valid is None else valid[:, s])[1] for s in range(S)]
    now = None if valid is None else valid[:, 0]
    first = loss(Features(y[:, 0], [], []), Features(t[:, 0], [], []), target[:, 0], now)
    later, parts = losses.build("ord", alpha1=0.3).response(
        y[:, 1:], t[:, 1:], target[:, 1:], None if valid is None else valid[:, 1:], by_step=True
    )
    found = first.with_later(later, parts, S - 1)
    assert set(found.parts) == {"response", "teacher_share", "rollout"}
    assert found.parts["rollout"].item() == later.item()
    assert found.parts["response"].item() == pytest.approx(found.total.item())
    if valid is None:  # with gaps the steps have different numbers of readings
        expected = sum(p["teacher_share"].item() for p in at) / S
        assert found.parts["teacher_share"].item() == pytest.approx(expected)
