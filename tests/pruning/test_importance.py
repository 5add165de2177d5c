"""Eq. (12) against a slow computation in double precision that shares no code with the package."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from kdsearch.data import Dataset
from kdsearch.distillation import losses
from kdsearch.distillation.bank import LiveTeacher
from kdsearch.models.stgcn import STGCN
from kdsearch.pruning import Pruner, PruneSettings, Stage
from kdsearch.pruning.importance import Importance, Statistics, group_importance
from kdsearch.pruning.structure import layers, parameter_count
from kdsearch.training.fit import Trainer
from kdsearch.training.network import new_network
from kdsearch.training.parts import Minibatch
from kdsearch.training.settings import FitSettings
from tests.pruning.conftest import SMALL, randomise

TINY = ((1, 2, 3), (3, 2, 4))


def groups(channels: tuple[tuple[int, int, int], ...], n: int) -> dict[str, list[set[tuple[str, tuple[int, ...]]]]]:
    """By layer and channel, every single weight of the group, spelled out from SPEC sections 1 and 5."""
    ks = kt = 3
    last, ko = channels[-1][-1], 12 - 4 * len(channels)
    found: dict[str, list[set[tuple[str, tuple[int, ...]]]]] = {}

    def produced(path: str, c_in: int, c_out: int, width: int, c: int, glu: bool) -> set[tuple[str, tuple[int, ...]]]:
        columns = (c, c_out + c) if glu else (c,)
        own = {(f"{path}.weight", (row, col)) for row in range(width * c_in) for col in columns}
        own |= {(f"{path}.bias", (col,)) for col in columns}
        if c_in > c_out:
            own |= {(f"{path}.residual", (row, c)) for row in range(c_in)}
        return own

    def consumed(path: str, c_in: int, c_out: int, width: int, c: int, glu: bool) -> set[tuple[str, tuple[int, ...]]]:
        columns = range(2 * c_out if glu else c_out)
        read = {(f"{path}.weight", (tap * c_in + c, col)) for tap in range(width) for col in columns}
        if c_in > c_out:
            read |= {(f"{path}.residual", (c, col)) for col in range(c_out)}
        return read

    def normed(path: str, c: int) -> set[tuple[str, tuple[int, ...]]]:
        return {(f"{path}.{p}", (node, c)) for p in ("gamma", "beta") for node in range(n)}

    for b, (c_in, c_mid, c_out) in enumerate(channels):
        path = f"blocks.{b}"
        found[f"block{b + 1}.mid"] = []
        for c in range(c_mid):
            group = produced(f"{path}.temporal_in", c_in, c_mid, kt, c, True)
            group |= {(f"{path}.spatial.weight", (order * c_mid + c, j)) for order in range(ks) for j in range(c_mid)}
            group |= {(f"{path}.spatial.weight", (i, c)) for i in range(ks * c_mid)}
            group |= {(f"{path}.spatial.bias", (c,))}
            group |= consumed(f"{path}.temporal_out", c_mid, c_out, kt, c, False)
            found[f"block{b + 1}.mid"].append(group)
        after = channels[b + 1][1] if b + 1 < len(channels) else last
        reader, width = (f"blocks.{b + 1}.temporal_in", kt) if b + 1 < len(channels) else ("head.temporal_in", ko)
        found[f"block{b + 1}.out"] = [
            produced(f"{path}.temporal_out", c_mid, c_out, kt, c, False)
            | normed(f"{path}.norm", c)
            | consumed(reader, c_out, after, width, c, True)
            for c in range(c_out)
        ]
    found["head.glu"] = [
        produced("head.temporal_in", last, last, ko, c, True)
        | normed("head.norm", c)
        | {("head.temporal_out.weight", (c, j)) for j in range(last)}
        for c in range(last)
    ]
    found["head.sigmoid"] = [
        {("head.temporal_out.weight", (i, c)) for i in range(last)}
        | {("head.temporal_out.bias", (c,))}
        | {("head.weight", (c, 0))}
        for c in range(last)
    ]
    return found


def test_groups_of_every_channel(small: STGCN) -> None:
    """Distinct random importances summed one weight at a time give what the package's index arithmetic gives."""
    values = {n: torch.rand(p.shape, dtype=torch.float64) for n, p in small.named_parameters()}
    expected = groups(SMALL, small.n_nodes)
    assert [layer.name for layer in layers(small)] == list(expected)
    for layer in layers(small):
        by_hand = [sum(float(values[p][at]) for p, at in group) for group in expected[layer.name]]
        torch.testing.assert_close(group_importance(layer, values), torch.tensor(by_hand, dtype=torch.float64))


def test_every_parameter_is_in_a_group_but_the_bias_per_node(small: STGCN) -> None:
    covered = set().union(*(group for layer in groups(SMALL, small.n_nodes).values() for group in layer))
    assert len(covered) == small.n_parameters() - small.n_nodes
    terms = parameter_count(small)
    widths = [layer.width for layer in layers(small)]
    assert sum(f * torch.tensor([1, *(widths[i] for i in at)]).prod().item() for f, at in terms) == small.n_parameters()


def test_eq_12_from_finite_differences(road: Dataset) -> None:
    """Gradients by central differences of the loss itself, squared products and sums in plain loops."""
    model = randomise(new_network(road, TINY, seed=0)).double()
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(2, 12, 5, 1, generator=generator).double(), torch.randn(2, 5, generator=generator).double())
        for _ in range(3)
    ]

    def loss(x: Tensor, target: Tensor) -> Tensor:
        return (model(x) - target).square().mean() * 5.0

    importance = Importance(model)
    for x, target in batches:
        model.zero_grad()
        loss(x, target).backward()
        importance.add(model, [p.grad for p in model.parameters()])
    importance.average()

    slow = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    with torch.no_grad():
        for name, p in model.named_parameters():
            flat, kept = p.view(-1), slow[name].view(-1)
            for i in range(p.numel()):
                w = float(flat[i])
                for x, target in batches:
                    flat[i] = w + 1e-5
                    above = float(loss(x, target))
                    flat[i] = w - 1e-5
                    slope = (above - float(loss(x, target))) / 2e-5
                    kept[i] += (slope * w) ** 2 / 3
                flat[i] = w
    for layer in layers(model):
        by_hand = [sum(float(slow[p][at]) for p, at in group) for group in groups(TINY, 5)[layer.name]]
        expected = torch.tensor(by_hand, dtype=torch.float64)
        torch.testing.assert_close(group_importance(layer, importance.values), expected, rtol=1e-5, atol=1e-9)


def test_average_enters_the_next_stage_as_one_minibatch(small: STGCN) -> None:
    """Algorithm 1 divides KDIS (line 15), never sets it back, and adds the next minibatches to it (line 12)."""
    importance = Importance(small)
    ones = [1.0 / p.detach() for p in small.parameters()]  # (g w)^2 = 1
    for _ in range(4):
        importance.add(small, ones)
    importance.average()
    importance.add(small, [2.0 * g for g in ones])  # 4
    importance.add(small, [None] * len(ones))  # a weight that the loss does not reach
    importance.average()
    for value in importance.values.values():
        torch.testing.assert_close(value, torch.full_like(value, (1.0 + 4.0 + 0.0) / 2))


class Enough(Exception):
    """Ends a training in the middle of an epoch."""


class Witness:
    """A pruning that prunes nothing, writes down what four minibatches show it, and ends the training."""

    settled = True

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, Tensor], Minibatch]] = []

    def start(self, trainer: Trainer) -> None: ...

    def after_backward(self, trainer: Trainer, batch: Minibatch) -> None:
        self.seen.append((copy.deepcopy(trainer.model.state_dict()), batch))
        if len(self.seen) == 4:
            raise Enough

    def after_step(self, trainer: Trainer) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any] | None, trainer: Trainer) -> None: ...


@pytest.mark.parametrize(
    ("loss", "criterion", "measured"),
    [("stcd", "kdis", "stcd"), ("stcd", "taylor", "none"), ("none", "taylor", "none"), ("skd", "kdis", "skd")],
)
def test_importance_in_the_training_loop(road: Dataset, loss: str, criterion: Any, measured: str) -> None:
    """The first stage's importances are Eq. (12) of the criterion's loss along the minibatches that were trained on."""
    values = {"stcd": {"alpha1": 0.2, "alpha2": 0.3, "alpha3": 0.5}, "skd": {"alpha": 0.4}, "none": {}}
    teacher = LiveTeacher(randomise(new_network(road, SMALL, seed=9)))
    settings = FitSettings(epochs=1, batch_size=62)

    def trainer(pruning: Any) -> Trainer:
        built = losses.build(loss, **values[loss])
        return Trainer(randomise(new_network(road, SMALL, seed=1)), road, built, settings, teacher, pruning=pruning)

    found: list[Stage] = []

    def told(stage: Stage) -> None:
        found.append(stage)
        raise Enough

    witness = Witness()
    for pruning in (Pruner(PruneSettings(50, pruning_minibatch=4, criterion=criterion), told), witness):
        with pytest.raises(Enough):
            trainer(pruning).epoch()

    slow: dict[str, Tensor] = {}
    model = new_network(road, SMALL, seed=1).double()
    precise = losses.build(measured, **values[measured])
    for weights, batch in witness.seen:
        model.load_state_dict(weights)
        model.zero_grad()
        terms = precise(model.features(batch.x.double().unsqueeze(-1)), batch.teacher, batch.target.double())
        precise.backward(terms, list(model.parameters()), scale=batch.x.shape[0] * 5 / 2)
        for name, p in model.named_parameters():
            slow[name] = slow.get(name, 0.0) + (p.grad * p.detach()).square() / 4
    for name, layer in groups(SMALL, 5).items():
        by_hand = [sum(float(slow[p][at]) for p, at in group) for group in layer]
        statistics = found[0].importance[name]
        assert statistics.count == len(by_hand)
        assert statistics.total == pytest.approx(sum(by_hand), rel=2e-3)
        assert statistics.minimum == pytest.approx(min(by_hand), rel=2e-3)
        assert statistics.maximum == pytest.approx(max(by_hand), rel=2e-3)
        best = sorted(sorted(range(len(by_hand)), key=by_hand.__getitem__)[-found[0].left[name] :])
        assert found[0].channels[name] == tuple(best)


def test_statistics() -> None:
    x = torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64).mul(5).exp()
    x[:7] = 0.0
    s = Statistics.of(x)
    assert (s.count, s.zeros, s.minimum, s.maximum) == (200, 7, 0.0, float(x.max()))
    assert s.total == pytest.approx(sum(x.tolist()))
    assert s.squares == pytest.approx(sum(v * v for v in x.tolist()))
    assert list(s.limits) == sorted(s.limits)
    assert s.limits[-1] == pytest.approx(float(x.max()))
    upto = [sum(0 < v <= limit * (1 + 1e-12) for v in x.tolist()) for limit in s.limits]
    assert upto == [sum(s.counts[: i + 1]) for i in range(len(s.counts))]
    empty = Statistics.of(torch.zeros(3))
    assert (empty.zeros, empty.counts, empty.limits) == (3, (), ())
    assert sum(Statistics.of(torch.full((4,), 2.0)).counts) == 4
