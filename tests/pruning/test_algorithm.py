"""Algorithm 1's stages: how many go, which ones, what is carried over, at both granularities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kdsearch.data import Dataset
from kdsearch.pruning import Pruner, PruneSettings
from kdsearch.pruning.structure import Selection, layers
from kdsearch.training.fit import Trainer
from kdsearch.training.parts import Minibatch
from kdsearch.training.report import Histograms
from kdsearch.training.settings import FitSettings
from tests.pruning.conftest import trainer_of


def test_stages_of_a_small_case_worked_by_hand(road: Dataset) -> None:
    """Widths 4 6 3 8 8 8 on 5 nodes, 30% a stage, a quarter of 1,237 parameters (309) to stay.

    0.7 of each: 2.8 4.2 2.1 5.6 5.6 5.6 -> 3 4 2 6 6 6. 0.49: 1.96 2.94 1.47 3.92 -> 2 3 1 4 4 4. 0.43 would leave
    2 3 1 3 3 3, 278 parameters and 2.5 points too few, so single layers keep one more; no single one is within half a
    point (block2.out: 316, head.glu: 317, head.sigmoid: 283; the others may not grow again or stay too large).
    """
    pruner = Pruner(PruneSettings(75, pruning_minibatch=5, stage_percent=30))
    trainer = trainer_of(road, pruner)
    assert trainer.model.n_parameters() == by_hand(4, 6, 3, 8, 8, 8) == 1237
    assert [by_hand(2, 3, 1, 3, 3, 3), by_hand(2, 3, 1, 4, 3, 3), by_hand(2, 3, 1, 3, 4, 3)] == [278, 316, 317]
    trainer.epoch()
    left = [tuple(stage.left.values()) for stage in pruner.stages]
    assert left[:2] == [(3, 4, 2, 6, 6, 6), (2, 3, 1, 4, 4, 4)]
    assert len(left) == 3
    assert abs(by_hand(*left[2]) - 309.25) <= 0.005 * 1237
    assert [stage.parameters for stage in pruner.stages] == [by_hand(*counts) for counts in left]
    assert [stage.share for stage in pruner.stages] == [by_hand(*counts) / 1237 for counts in left]
    assert [stage.minibatch for stage in pruner.stages] == [5, 10, 15]
    assert pruner.n_parameters == trainer.model.n_parameters() == by_hand(*left[2])
    for before, after in zip(pruner.stages, pruner.stages[1:], strict=False):
        assert all(set(after.channels[name]) <= set(before.channels[name]) for name in before.channels)
    for stage in pruner.stages:
        assert {name: len(kept) for name, kept in stage.channels.items()} == stage.left


def by_hand(m1: int, o1: int, m2: int, o2: int, glu: int, sigmoid: int, n: int = 5) -> int:
    """Parameters of SMALL with these widths, layer by layer (SPEC section 1)."""
    block1 = (3 * 1 + 1) * 2 * m1 + (3 * m1 + 1) * m1 + (3 * m1 + 1) * o1 + 2 * n * o1
    block2 = (3 * o1 + 1) * 2 * m2 + o1 * m2 + (3 * m2 + 1) * m2 + (3 * m2 + 1) * o2 + 2 * n * o2
    return block1 + block2 + (4 * o2 + 1) * 2 * glu + 2 * n * glu + (glu + 1) * sigmoid + sigmoid + n


class Watched:
    """A pruner under watch: at each stage, weights and accumulators must be those of the channels that stay."""

    def __init__(self, pruner: Pruner) -> None:
        self.pruner, self.accumulators = pruner, {}

    @property
    def settled(self) -> bool:
        return self.pruner.settled

    def figures(self) -> dict[str, float]:
        return self.pruner.figures()

    def histograms(self, after: int) -> Histograms:
        return self.pruner.histograms(after)

    def start(self, trainer: Trainer) -> None:
        self.pruner.start(trainer)

    def after_backward(self, trainer: Trainer, batch: Minibatch) -> None:
        self.pruner.after_backward(trainer, batch)

    def after_step(self, trainer: Trainer) -> None:
        before, done = trainer.model, len(self.pruner.stages)
        state = {n: trainer.optimizer.state[p]["mean_square"].clone() for n, p in before.named_parameters()}
        weights = {n: p.detach().clone() for n, p in before.named_parameters()}
        origin = self.pruner.stages[-1].channels if done else None
        self.pruner.after_step(trainer)
        if len(self.pruner.stages) > done:
            now = self.pruner.stages[-1].channels
            if origin is None:
                origin = {layer.name: tuple(range(layer.width)) for layer in layers(before)}
            keep = {name: [origin[name].index(c) for c in kept] for name, kept in now.items()}
            chosen = Selection(layers(before), keep)
            for name, p in trainer.model.named_parameters():
                assert torch.equal(p, chosen(name, weights[name]))
                assert torch.equal(trainer.optimizer.state[p]["mean_square"], chosen(name, state[name]))
            self.accumulators[done + 1] = len(trainer.optimizer.state)

    def state_dict(self) -> dict[str, Any]:
        return self.pruner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any] | None, trainer: Trainer) -> None:
        self.pruner.load_state_dict(state, trainer)


def test_weights_and_optimiser_go_on_where_they_were(road: Dataset) -> None:
    watched = Watched(Pruner(PruneSettings(75, pruning_minibatch=5)))
    trainer = trainer_of(road, watched)
    rate = 0.00123
    trainer.settings = FitSettings(epochs=1, batch_size=186, learning_rate=rate)
    trainer.epoch()
    n_tensors = len(list(trainer.model.parameters()))
    assert set(watched.accumulators.values()) == {n_tensors}
    assert len(watched.accumulators) == len(watched.pruner.schedule.stages) > 2
    assert trainer.optimizer.param_groups[0]["lr"] == rate


def test_same_seed_same_network(road: Dataset) -> None:
    runs = []
    for _ in range(2):
        pruner = Pruner(PruneSettings(75, pruning_minibatch=5))
        trainer = trainer_of(road, pruner)
        report = trainer.epoch()
        runs.append((trainer.model.state_dict(), [s.plain() for s in pruner.stages], report.score))
    assert all(torch.equal(runs[0][0][k], v) for k, v in runs[1][0].items())
    assert runs[0][1:] == runs[1][1:]


def test_of_equals_the_first_goes_first(road: Dataset) -> None:
    """A network without any gradient: every importance is 0."""
    pruner = Pruner(PruneSettings(50, pruning_minibatch=1, stage_percent=60))
    trainer = trainer_of(road, pruner)
    for p in trainer.model.parameters():
        p.data.zero_()
    trainer.epoch()
    first = pruner.stages[0]
    assert all(s.maximum == 0.0 == s.zeros - s.count for s in first.importance.values())
    widths = dict(zip(first.left, (4, 6, 3, 8, 8, 8), strict=True))
    assert all(kept == tuple(range(widths[n] - len(kept), widths[n])) for n, kept in first.channels.items())


def test_single_weights(road: Dataset) -> None:
    """Literal Algorithm 1: masks of zeros, in every module the lowest; what is masked stays zero in training."""
    zeros: list[Tensor] = []
    pruner = Pruner(PruneSettings(75, pruning_minibatch=5, granularity="weight"))
    trainer = trainer_of(road, pruner, FitSettings(epochs=2, batch_size=186))
    full = trainer.model.n_parameters()
    for _ in range(2):
        trainer.epoch()
        zeros.append(torch.cat([p.detach().flatten() == 0 for p in trainer.model.parameters()]))
    assert torch.equal(*zeros)
    assert int((~zeros[0]).sum()) == pruner.n_parameters == pruner.stages[-1].parameters
    assert abs(pruner.share - 0.25) <= 0.001
    assert trainer.model.n_parameters() == full
    named = dict(trainer.model.named_parameters())
    widths = [
        sum(p.numel() for n, p in named.items() if n.rpartition(".")[0] == layer) for layer in pruner.stages[0].left
    ]
    assert list(pruner.stages[0].left.values()) == [int(0.8 * w + 0.5) for w in widths]


def test_lowest_weights_go_first(road: Dataset) -> None:
    """One stage at weight granularity against a sort written here."""
    seen: list[dict[str, Tensor]] = []

    class Watching(Pruner):
        def after_backward(self, trainer: Trainer, batch: Minibatch) -> None:
            super().after_backward(trainer, batch)
            if not self.settled:
                seen.append({n: (p.grad * p).detach().double() ** 2 for n, p in trainer.model.named_parameters()})

    pruner = Watching(PruneSettings(20, pruning_minibatch=3, stage_percent=20, granularity="weight"))
    trainer = trainer_of(road, pruner)
    trainer.epoch()
    assert len(pruner.stages) == 1
    mean = {n: sum(s[n] for s in seen) / 3 for n in seen[0]}
    named = dict(trainer.model.named_parameters())
    for module in {n.rpartition(".")[0] for n in named}:
        names = [n for n in named if n.rpartition(".")[0] == module]
        values = torch.cat([mean[n].flatten() for n in names])
        gone = torch.cat([named[n].flatten() == 0 for n in names])
        count = len(values) - int(0.8 * len(values) + 0.5)
        assert int(gone.sum()) == count
        assert float(values[gone].max()) <= float(values[~gone].min()) * (1 + 1e-4)
