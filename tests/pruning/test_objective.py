"""Pruning as a trial: where it starts, what its hyperparameters do, how long it takes, what a search sees of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from kdsearch.data import Dataset
from kdsearch.distillation.objective import DistillationObjective
from kdsearch.errors import UserError
from kdsearch.job.pruning import grace, template
from kdsearch.job.settings import JobSettings
from kdsearch.models.layout import Layout
from kdsearch.pruning.objective import PruningObjective, epochs_of_pruning, planned, settings_of, start_network
from kdsearch.pruning.settings import PruneSettings
from kdsearch.search.space import Parameter, Space
from kdsearch.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from kdsearch.training.network import layout_of, new_network
from kdsearch.training.settings import FitSettings
from tests.pruning.conftest import KD, SMALL, randomise

FIT = FitSettings(epochs=3, batch_size=186)
PARAMS: dict[str, Any] = {
    "batch_size": 186,
    "learning_rate": 1e-3,
    **KD,
    "pruning_minibatch": 16,
    "stage_percent": 20.0,
}


def start_of(road: Dataset) -> Checkpoint:
    weights = randomise(new_network(road, SMALL, seed=1)).state_dict()
    return Checkpoint(SMALL, weights, road.name, road.fingerprint, 1, {"score": 1.0}, 0.0)


@pytest.fixture
def objective(road: Dataset) -> PruningObjective:
    teacher = start_of(road)
    return PruningObjective(DistillationObjective(road, "stcd", FIT, teacher=teacher), teacher, PruneSettings(75))


@pytest.mark.parametrize(
    ("percent", "name"), [(97, "teacher"), (90.5, "teacher"), (90, "base"), (75, "base"), (1, "base")]
)
def test_where_pruning_starts(percent: float, name: str) -> None:
    assert start_network(percent) == name


def test_hyperparameters_replace_those_of_the_template() -> None:
    made = settings_of(PruneSettings(75, criterion="taylor"), {"pruning_minibatch": 7, "stage_percent": 30})
    assert made == PruneSettings(75, 7, 30.0, criterion="taylor")
    with pytest.raises(UserError, match="whole number"):
        settings_of(PruneSettings(75), {"pruning_minibatch": 2.5})
    with pytest.raises(UserError, match="stage_percent=150"):
        settings_of(PruneSettings(75), {"stage_percent": 150})


def test_a_trial_is_a_copy_and_has_no_score_before_it_is_pruned(objective: PruningObjective, tmp_path: Any) -> None:
    before = {name: value.clone() for name, value in objective.start.weights.items()}
    trial = objective.trainer(PARAMS, "cpu", 0)
    whole = trial.model.n_parameters()
    first = trial.epoch()
    assert math.isfinite(first.score)
    assert not trial.pruning.settled
    assert trial.best_score == math.inf
    assert trial.best_epoch == 0
    # Carried on by another, as after a kill.
    again = objective.trainer(PARAMS, "cpu", 0)
    again.load_state_dict(trial.state_dict())
    while not again.pruning.settled:
        last = again.epoch()
    assert again.best_score == last.score
    assert last.losses["pruning/parameters"] == again.model.n_parameters()
    assert last.losses["pruning/share kept"] == pytest.approx(0.25, abs=0.01)
    assert again.model.n_parameters() / whole == last.losses["pruning/share kept"]
    assert last.losses["pruning/channels block1.mid"] == again.model.channels[0][1]
    assert last.losses["pruning/importance block1.mid"] > 0
    assert all(torch.equal(before[name], value) for name, value in objective.start.weights.items())
    # The layout travels with the weights.
    assert again.layout is not None
    layout = Layout.from_plain(again.layout)
    kept = replace(objective.start, channels=layout.blocks, weights=again.best_weights, layout=layout)
    save_checkpoint(tmp_path / "best.pt", kept)
    loaded = load_checkpoint(tmp_path / "best.pt").network(objective.distillation.dataset)
    assert loaded.n_parameters() == again.model.n_parameters()


def space(interval: tuple[float, float], share: tuple[float, float]) -> Space:
    return Space(
        "stcd",
        (
            Parameter("batch_size", choices=(50, 186)),
            Parameter("pruning_minibatch", *interval, integer=True),
            Parameter("stage_percent", *share),
        ),
    )


def test_no_configuration_of_the_space_needs_longer_than_the_grace(road: Dataset) -> None:
    searched, pruning = space((3, 25), (15, 40)), PruneSettings(97)
    bound = grace(road, searched, pruning, layout_of("teacher", "paper"), FitSettings(epochs=50))
    needed = []
    for interval in (3, 12, 25):
        for share in (15, 17.3, 22, 31.1, 40):
            for size in (50, 186):
                made = settings_of(pruning, {"pruning_minibatch": interval, "stage_percent": share})
                fit = FitSettings(epochs=50, batch_size=size)
                needed.append(
                    epochs_of_pruning(
                        road, planned(road, made, layout_of(start_network(made.percent), "paper")), made, fit
                    )
                )
    assert max(needed) == bound > 1
    with pytest.raises(UserError, match=rf"--epochs {bound}: .* give more than {bound}"):
        grace(road, searched, pruning, layout_of("teacher", "paper"), FitSettings(epochs=bound))
    assert grace(road, searched, pruning, layout_of("teacher", "paper"), FitSettings(epochs=bound + 1)) == bound


@pytest.mark.parametrize("name", ["criterion", "granularity", "finetune_loss", "unreachable"])
def test_options_of_pruning_need_it(name: str) -> None:
    value: Any = {"criterion": "taylor", "granularity": "weight", "finetune_loss": "task", "unreachable": "nearest"}
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')} {value[name]} is of pruning: give --prune"):
        template(JobSettings(**{name: value[name]}))
    assert getattr(template(JobSettings(prune=97, **{name: value[name]})), name) == value[name]


def test_a_loss_with_weights_of_its_own_is_refused() -> None:
    with pytest.raises(UserError, match="prune with another loss"):
        template(JobSettings(loss="fitnet", prune=97))
