"""Names, hyperparameters and their errors; a user's own loss; losses with weights; gradient revision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdsearch.distillation.graph_matching import graph_matching_loss
from kdsearch.distillation.losses import (
    Hyperparameter,
    Loss,
    LossTerms,
    Needs,
    Scale,
    build,
    hyperparameters,
    masked_mean,
    names,
)
from kdsearch.distillation.losses.base import _registry
from kdsearch.errors import UserError
from kdsearch.models.stgcn import Features


def test_names_and_hyperparameters():
    assert names()[:7] == ("none", "rd_l2", "rd_kl", "ord", "tcd", "scd", "stcd")
    declared = {name: [h.name for h in hyperparameters(name)] for name in names()}
    assert declared == {
        "none": [],
        "rd_l2": ["beta"],
        "rd_kl": ["beta"],
        "ord": ["alpha1"],
        "tcd": ["alpha1", "alpha3"],
        "scd": ["alpha1", "alpha3"],
        "stcd": ["alpha1", "alpha2", "alpha3"],
        "skd": ["alpha"],
        "fitnet": ["weight"],
        "at": ["weight"],
        "nst": ["weight"],
    }
    for name in names():
        for h in hyperparameters(name):
            assert h.low <= h.default <= h.high
            assert h.meaning


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("stdc", {}, ["unknown loss 'stdc'", "did you mean stcd", "rd_kl"]),
        ("zzz", {}, ["unknown loss 'zzz'", "stcd"]),
        ("stcd", {"alpha1": 0.5, "alpha2": 0.5}, ["stcd", "misses", "alpha3"]),
        ("ord", {"alpha1": 0.5, "alpha2": 0.5}, ["ord", "alpha2", "alpha1"]),
        ("none", {"alpha1": 0.5}, ["none", "alpha1", "takes none"]),
        ("ord", {"alpha1": 1.5}, ["alpha1=1.5", "0 to 1"]),
        ("ord", {"alpha1": float("nan")}, ["alpha1", "number"]),
        ("ord", {"alpha1": "high"}, ["alpha1", "number", "high"]),
        ("ord", {"alpha1": True}, ["alpha1", "number"]),
        ("rd_kl", {"beta": 0.5}, ["rd_kl", "scale"]),
    ],
)
def test_mistakes_are_named(name, values, words):
    with pytest.raises(UserError) as caught:
        build(name, **values)
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


def test_hyperparameters_of_the_paper_are_in_range():
    build("rd_l2", beta=0.905)
    build("rd_kl", scale=Scale(58.0, 13.0), beta=0.007)
    build("skd", alpha=0.005)
    build("stcd", alpha1=0.996, alpha2=0.047, alpha3=0.868)


@pytest.fixture
def registry():
    """The registry, put back as it was."""
    before = dict(_registry)
    yield _registry
    _registry.clear()
    _registry.update(before)


def test_a_loss_of_ones_own(registry):
    class Huber(Loss, name="huber"):
        """Huber loss to the target."""

        HYPERPARAMETERS = (Hyperparameter("delta", 0.01, 10.0, 1.0, "where it turns linear", log=True),)
        delta: float

        def forward(self, student, teacher, target, valid=None):
            error = nn.functional.huber_loss(student.prediction, target, delta=self.delta, reduction="none")
            response = masked_mean(error, valid)
            return LossTerms(response, {"response": response.detach()})

    assert names()[-1] == "huber"
    loss = build("huber", delta=0.5)
    assert loss.needs == Needs()
    assert not loss.needs.teacher
    terms = loss(Features(torch.tensor([[2.0]]), [], []), None, torch.tensor([[0.0]]))
    assert terms.total.item() == pytest.approx(0.5 * (2.0 - 0.25))
    with pytest.raises(UserError, match="delta"):
        build("huber", delta=0.0)
    with pytest.raises(ValueError, match="two losses are called 'none'"):

        class Other(Loss, name="none"):
            pass


@pytest.mark.parametrize("bad", [{"low": 2.0}, {"default": 3.0}, {"low": 0.0, "log": True}])
def test_declarations_are_checked(bad):
    with pytest.raises(ValueError, match="alpha"):
        Hyperparameter(**{"name": "alpha", "low": 0.5, "high": 1.0, "default": 0.7, "meaning": "m"} | bad)


def random_features(*widths: int) -> Features:
    return Features(torch.randn(2, 5), [torch.randn(2, 4, 5, w) for w in widths], [])


def test_fitnet_trains_its_regressor():
    torch.manual_seed(0)
    loss = build("fitnet", weight=1.0)
    assert not list(loss.parameters())
    student, teacher = random_features(2, 3, 2, 4), random_features(4, 6, 4, 8)
    loss.prepare(student, teacher)
    shapes = [tuple(p.shape) for p in loss.parameters()]
    assert shapes == [(6, 3), (6,)]
    before = loss.regressor
    loss.prepare(student, teacher)
    assert loss.regressor is before
    target = torch.randn(2, 5)
    optimiser = torch.optim.SGD(loss.parameters(), lr=0.1)
    values = []
    for _ in range(20):
        optimiser.zero_grad()
        terms = loss(student, teacher, target)
        loss.backward(terms, list(loss.parameters()))
        optimiser.step()
        values.append(terms.parts["distillation"].item())
    assert values[-1] < values[0]


class _Two(nn.Module):
    """A parameter per input of the loss: the prediction's and the last feature's."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.randn(3, 4, dtype=torch.float64))
        self.idle = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def features(self, mix: torch.Tensor) -> Features:
        last = (self.shared * mix).view(1, 1, 3, 4)
        return Features(last.sum(dim=(1, 3)), [last, last, last, last], [])


@pytest.mark.parametrize("seed", range(8))
def test_gradient_revision(seed):
    """Where the gradients oppose each other the distillation's is projected; elsewhere nothing changes."""
    torch.manual_seed(seed)
    network = _Two()
    mix, target = torch.randn(3, 4, dtype=torch.float64), torch.randn(1, 3, dtype=torch.float64)
    teacher = Features(target, [torch.randn(1, 1, 3, 6, dtype=torch.float64)] * 4, [])
    loss = build("skd", alpha=0.4)
    f = network.features(mix)
    task = 0.6 * (f.prediction - target).square().mean()
    matching = 0.4 * graph_matching_loss(f.temporal[3].flatten(1, 2), teacher.temporal[3].flatten(1, 2))
    a = torch.autograd.grad(task, network.shared, retain_graph=True)[0]
    b = torch.autograd.grad(matching, network.shared)[0]
    product = (a * b).sum()
    revised = b - product / (a * a).sum() * a if product < 0 else b
    network.idle.grad = torch.ones_like(network.idle)
    terms = loss(network.features(mix), teacher, target)
    assert terms.total.item() == pytest.approx((task + matching).item())
    loss.backward(terms, network.parameters(), scale=3.0)
    torch.testing.assert_close(network.shared.grad, 3.0 * (a + revised))
    torch.testing.assert_close(network.idle.grad, torch.ones(2, dtype=torch.float64))
    # The revised step never goes against the task.
    assert ((network.shared.grad / 3.0 - a) * a).sum() >= -1e-12
    # Gradients add up, as backward() has it.
    loss.backward(loss(network.features(mix), teacher, target), network.parameters(), scale=3.0)
    torch.testing.assert_close(network.shared.grad, 6.0 * (a + revised))


def test_gradient_revision_meets_both_cases():
    signs = set()
    for seed in range(8):
        torch.manual_seed(seed)
        network = _Two()
        mix, target = torch.randn(3, 4, dtype=torch.float64), torch.randn(1, 3, dtype=torch.float64)
        theirs = torch.randn(1, 3, 6, dtype=torch.float64)
        f = network.features(mix)
        a = torch.autograd.grad((f.prediction - target).square().mean(), network.shared, retain_graph=True)[0]
        b = torch.autograd.grad(graph_matching_loss(f.temporal[3].flatten(1, 2), theirs), network.shared)[0]
        signs.add(bool((a * b).sum() < 0))
    assert signs == {True, False}


@pytest.mark.parametrize(("positions", "channels"), [(912, 8), (37, 3), (2, 1)])
def test_graph_matching_in_single_precision(positions, channels):
    torch.manual_seed(0)
    x, y = torch.randn(2, positions, channels), torch.randn(2, positions, 16)
    x[0, 1] = x[0, 0]  # coincident positions pull nowhere and break nothing
    exact, fast = x.double().requires_grad_(), x.clone().requires_grad_()
    slow = graph_matching_loss(exact, y.double())
    quick = graph_matching_loss(fast, y)
    slow.backward()
    quick.backward()
    assert quick.item() == pytest.approx(slow.item(), rel=1e-5)
    assert (fast.grad - exact.grad).abs().max() <= 1e-5 * exact.grad.abs().max() + 1e-12
    assert graph_matching_loss(x.mul(torch.nan), y).isnan()


def test_graph_matching_of_a_collapsed_student():
    """All positions alike: no distances, no gradient, no NaN."""
    for dtype in (torch.float32, torch.float64):
        x = torch.ones(2, 5, 3, dtype=dtype, requires_grad=True)
        value = graph_matching_loss(x, torch.arange(2 * 5 * 2, dtype=dtype).view(2, 5, 2))
        value.backward()
        assert value.isfinite()
        assert torch.equal(x.grad, torch.zeros_like(x))


def test_graph_matching_needs_the_same_positions():
    with pytest.raises(ValueError, match="do not match"):
        graph_matching_loss(torch.randn(2, 5, 3), torch.randn(2, 4, 3))
