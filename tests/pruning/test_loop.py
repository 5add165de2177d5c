"""Pruning in the one training loop: resuming, the best epoch, fine-tuning, the public door, refusals."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from kdsearch.data import Dataset
from kdsearch.distillation import losses
from kdsearch.errors import UserError
from kdsearch.models.stgcn import STGCN
from kdsearch.pruning import Pruner, PruneSettings, Stage, compact, prune
from kdsearch.training.fit import Trainer, fit
from kdsearch.training.network import new_network
from kdsearch.training.settings import FitSettings
from tests.pruning.conftest import KD, ONCE, SMALL, randomise, trainer_of


@pytest.mark.parametrize(("granularity", "after"), [("filter", 1), ("filter", 2), ("weight", 1)])
def test_resumed_anywhere_gives_the_same(road: Dataset, granularity: Any, after: int, tmp_path: Any) -> None:
    """Stages fall into epochs 1 and 2; the state goes through a file between two epochs."""
    settings = FitSettings(epochs=3, batch_size=186)
    pruning = PruneSettings(75, pruning_minibatch=12, granularity=granularity, finetune_loss="task")
    whole = trainer_of(road, Pruner(pruning), settings)
    fit(whole)
    first = trainer_of(road, Pruner(pruning), settings)
    fit_until(first, after)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = trainer_of(road, Pruner(pruning), settings)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert second.model.layout == first.model.layout
    fit(second)
    assert [r.score for r in second.history] == [r.score for r in whole.history]
    assert all(torch.equal(whole.best_weights[k], v) for k, v in second.best_weights.items())
    assert second.pruning.state_dict()["stages"] == whole.pruning.state_dict()["stages"]
    assert second.loss.name == "none"


def fit_until(trainer: Trainer, epoch: int) -> None:
    while len(trainer.history) < epoch:
        trainer.epoch()


def test_best_epoch_comes_after_the_last_stage(road: Dataset) -> None:
    """Larger networks of earlier epochs do not count, however good."""
    pruner = Pruner(PruneSettings(75, pruning_minibatch=16))
    trainer = trainer_of(road, pruner, FitSettings(epochs=4, batch_size=186))
    needed = -(-pruner.minibatches // trainer.updates_per_epoch)
    assert needed > 1
    bests = []
    fit(trainer, on_epoch=lambda _: bests.append(trainer.best_epoch))
    assert bests[: needed - 1] == [0] * (needed - 1)
    assert bests[needed - 1] == needed
    assert {k: v.shape for k, v in trainer.best_weights.items()} == {
        k: v.shape for k, v in trainer.model.state_dict().items()
    }


def test_every_stage_is_in_the_report_of_its_epoch(road: Dataset) -> None:
    pruner = Pruner(PruneSettings(75, pruning_minibatch=30))
    trainer = trainer_of(road, pruner, FitSettings(epochs=4, batch_size=186))
    result = fit(trainer)
    told = [[step for step, _ in r.histograms.get("importance head.glu", [])] for r in result.history]
    assert [step for steps in told for step in steps] == [stage.minibatch for stage in pruner.stages]
    for epoch, steps in enumerate(told):
        assert all(epoch * trainer.updates_per_epoch < s <= (epoch + 1) * trainer.updates_per_epoch for s in steps)
    assert len([steps for steps in told if steps]) > 1
    assert told[-1] == []
    widths = {name: found[0][1]["count"] for name, found in result.history[0].histograms.items()}
    assert widths == {f"importance {n}": c for n, c in zip(pruner.stages[0].left, (4, 6, 3, 8, 8, 8), strict=True)}


def test_stopped_before_the_last_stage(road: Dataset) -> None:
    trainer = trainer_of(road, Pruner(PruneSettings(75, pruning_minibatch=16)), FitSettings(epochs=4, batch_size=186))
    with pytest.raises(UserError, match="before pruning did"):
        fit(trainer, on_epoch=lambda _: True)


def test_after_the_last_stage_the_task_or_the_teacher(road: Dataset) -> None:
    """Same stages, then other losses: "task" trains with the plain loss and asks the teacher nothing."""
    reports = {}
    for finetune in ("kd", "task"):
        trainer = trainer_of(
            road,
            Pruner(PruneSettings(50, pruning_minibatch=3, finetune_loss=finetune)),  # type: ignore[arg-type]
            FitSettings(epochs=2, batch_size=186),
        )
        fit(trainer)
        reports[finetune] = trainer
    assert reports["task"].loss.name == "none"
    assert reports["kd"].loss.name == "stcd"
    parts = {name for name in reports["task"].history[1].losses if not name.startswith("pruning/")}
    assert parts == {"total", "response"}
    assert "spatial" in reports["kd"].history[1].losses
    first = {name: [s.channels for s in t.pruning.stages] for name, t in reports.items()}
    assert first["kd"] == first["task"]
    one = copy.deepcopy(reports["kd"].model.state_dict())
    assert any(not torch.equal(one[k], v) for k, v in reports["task"].model.state_dict().items())


def test_losses_of_two_kinds_in_one_epoch_are_each_averaged_over_their_updates(road: Dataset) -> None:
    pruner = Pruner(PruneSettings(50, pruning_minibatch=3, finetune_loss="task"))
    trainer = trainer_of(road, pruner)
    share = trainer.epoch().losses["teacher_share"]  # of the few updates with KD; over all it would be near 0
    assert pruner.minibatches < trainer.updates_per_epoch / 5
    assert 0.2 < share <= 1.0


@pytest.mark.parametrize("rollout_steps", [1, 3])
def test_public_door(road: Dataset, rollout_steps: int) -> None:
    model = randomise(new_network(road, SMALL, seed=1))
    before = copy.deepcopy(model.state_dict())
    stages: list[Stage] = []
    scores: list[float] = []
    smaller = prune(
        model,
        road,
        losses.build("stcd", **KD),
        PruneSettings(75, pruning_minibatch=4),
        FitSettings(epochs=2, batch_size=186, rollout_steps=rollout_steps),
        teacher=new_network(road, SMALL, seed=9),
        on_epoch=lambda report: scores.append(report.score),
        on_stage=stages.append,
    )
    assert isinstance(smaller, STGCN)
    assert not smaller.training
    assert abs(smaller.n_parameters() / model.n_parameters() - 0.25) <= 0.01
    assert smaller.n_parameters() == stages[-1].parameters
    assert smaller.layout == compact(model, stages[-1].channels).layout
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert len(scores) == 2


def test_nearest_share_warns(road: Dataset) -> None:
    model = new_network(road, ((1, 1, 2), (2, 1, 2)), seed=0)
    arguments = (model, road, losses.build("none"))
    with pytest.raises(UserError, match="cannot keep 3% within one point"):
        prune(*arguments, PruneSettings(97, pruning_minibatch=1), ONCE)
    with pytest.warns(UserWarning, match="the nearest is"):
        smaller = prune(*arguments, PruneSettings(97, pruning_minibatch=1, unreachable="nearest"), ONCE)
    assert smaller.layout.blocks == ((1, 1, 1), (1, 1, 1))
    assert smaller.layout.head == (1, 1)


def test_refusals(road: Dataset, demo: Dataset) -> None:
    model, stcd = new_network(road, SMALL, seed=0), losses.build("stcd", **KD)
    half = PruneSettings(50, pruning_minibatch=2)
    with pytest.raises(UserError, match="the network has 5 nodes and demo has"):
        prune(model, demo, stcd, half, ONCE, teacher=model)
    with pytest.raises(UserError, match="the teacher has"):
        prune(model, road, stcd, half, ONCE, teacher=new_network(demo, SMALL, seed=0))
    with pytest.raises(UserError, match="reads a teacher"):
        prune(model, road, stcd, half, ONCE)
    with pytest.raises(UserError, match="already no more than"):
        prune(model, road, losses.build("none"), PruneSettings(50, full=100_000), ONCE)
    with pytest.raises(UserError, match=r"takes \d+ stages of 50 minibatches, the training has \d+ in 1 epochs"):
        prune(model, road, losses.build("none"), PruneSettings(90), ONCE)
    with pytest.raises(UserError, match="weights of its own"):
        prune(model, road, losses.build("fitnet", weight=0.1), half, ONCE, teacher=model)
    saved = trainer_of(road, Pruner(half)).state_dict()
    for other in (Pruner(PruneSettings(60, pruning_minibatch=2)),):
        with pytest.raises(UserError, match="other settings"):
            trainer_of(road, other).load_state_dict(saved)
    with pytest.raises(UserError, match="other settings"):
        trainer_of(road, Pruner(half)).load_state_dict(trainer_of(road, None).state_dict())
