"""The moving average of the weights: its values, what the loop judges and keeps, and what pruning does to it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from kdsearch.distillation import losses
from kdsearch.pruning import Pruner, PruneSettings
from kdsearch.training.averaging import WeightAverage
from kdsearch.training.evaluate import evaluate
from kdsearch.training.fit import Trainer, fit
from kdsearch.training.metrics import score
from kdsearch.training.network import new_network
from kdsearch.training.settings import FitSettings
from tests.training.tiny import CHANNELS, tiny, weights_equal

WIDE = ((1, 4, 6), (6, 4, 8))


def trainer(average: float, epochs: int = 3, pruner: Pruner | None = None) -> Trainer:
    data = tiny()
    settings = FitSettings(epochs=epochs, batch_size=20, learning_rate=3e-3, average=average)
    model = new_network(data, CHANNELS if pruner is None else WIDE, 0)
    return Trainer(model, data, losses.build("none"), settings, pruning=pruner)


def test_values() -> None:
    """Against the weighted sum written out, float64; the first updates count more than the decay says."""
    torch.manual_seed(0)
    courses = [torch.randn(3, dtype=torch.float64) for _ in range(40)]
    model = nn.Linear(3, 1, bias=False).double()
    average = None
    for course in courses:
        with torch.no_grad():
            model.weight.copy_(course[None])
        if average is None:
            average = WeightAverage(0.7, model)
        else:
            average.update(model)
    wanted = courses[0]
    for n, course in enumerate(courses[1:], start=1):
        decay = min(0.7, n / (n + 10))
        wanted = decay * wanted + (1 - decay) * course
    assert average is not None
    torch.testing.assert_close(average.model.weight[0], wanted, rtol=1e-12, atol=1e-12)


def test_epochs_are_judged_by_the_average_and_the_best_is_kept() -> None:
    t = trainer(0.9)
    fit(t)
    assert t.best is not None
    kept = copy.deepcopy(t.model)
    kept.load_state_dict(t.best_weights)
    assert score(evaluate(kept, tiny(), "validation")) == pytest.approx(t.best_score)
    assert t.best_epoch < 3 or not weights_equal(t.best_weights, t.model.state_dict())


def test_the_course_of_the_weights_is_the_same_with_and_without() -> None:
    """It looks on: losses and updates are untouched, only scores and what is kept differ."""
    with_it, without = trainer(0.9), trainer(0.0)
    fit(with_it)
    fit(without)
    assert [r.losses for r in with_it.history] == [r.losses for r in without.history]
    assert weights_equal(with_it.model.state_dict(), without.model.state_dict())
    assert [r.score for r in with_it.history] != [r.score for r in without.history]


@pytest.mark.parametrize("granularity", ["filter", "weight"])
def test_only_networks_of_the_final_shape_count(granularity: str) -> None:
    """What is averaged has the channels that are left, and zeros where weights are held at zero."""
    pruner = Pruner(PruneSettings(50, pruning_minibatch=2, stage_percent=30, granularity=granularity))
    t = trainer(0.9, 2, pruner)
    assert t.validated is t.model
    fit(t)
    assert pruner.settled
    assert t.validated is not t.model
    assert {k: v.shape for k, v in t.best_weights.items()} == {k: v.shape for k, v in t.model.state_dict().items()}
    for name, p in t.model.named_parameters():
        held = p == 0 if granularity == "weight" else torch.zeros_like(p, dtype=torch.bool)
        assert torch.equal(t.best_weights[name][held], torch.zeros_like(p[held]))
