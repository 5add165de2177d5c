"""Trials: every loss of the registry trains a student, from the bank as from the teacher itself."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from kdsearch.data import Windows
from kdsearch.distillation import losses
from kdsearch.distillation.bank import TeacherBank
from kdsearch.distillation.objective import TRAINING_PARAMS, DistillationObjective
from kdsearch.errors import UserError
from kdsearch.models.stgcn import STUDENT
from kdsearch.training.checkpoint import Checkpoint
from kdsearch.training.fit import Trainer, fit
from kdsearch.training.network import new_network
from kdsearch.training.settings import FitSettings
from tests.training.tiny import randomised, tiny, weights_equal

TEACHER = ((1, 3, 6), (6, 4, 5))
DATA = tiny()
PARAMS = {"batch_size": 20, "learning_rate": 2e-3}


def objective(name: str, kind: str, data=DATA, run: int = 1) -> DistillationObjective:
    model = randomised(new_network(data, TEACHER, 0), 1, scale=0.2)
    bank = kept = None
    needs = losses.get(name).NEEDS
    if needs.teacher and kind == "bank":
        bank = TeacherBank.build(model, Windows(data, "train").days, needs)
    elif needs.teacher:
        kept = Checkpoint(TEACHER, model.state_dict(), data.name, data.fingerprint, 1, {}, 0.0)
    settings = FitSettings(epochs=1, batch_size=7, learning_rate=9.0, seed=99, run_length=run)
    return DistillationObjective(data, name, settings, bank, kept)


def params(name: str) -> dict[str, Any]:
    return {**PARAMS, **{h.name: h.default for h in losses.hyperparameters(name)}}


def trained(name: str, kind: str, seed: int = 3, run: int = 1) -> Trainer:
    trainer = objective(name, kind, run=run).trainer(params(name), "cpu", seed)
    fit(trainer)
    return trainer


@pytest.mark.parametrize("run", [1, 4])
@pytest.mark.parametrize("name", losses.names())
def test_every_loss_trains(name, run):
    trainer = trained(name, "bank", run=run)
    (report,) = trainer.history
    assert all(math.isfinite(v) for v in (report.score, *report.validation.values(), *report.losses.values()))
    assert {"total", "response"} <= set(report.losses)
    start = new_network(DATA, STUDENT, 3).state_dict()
    assert trainer.model.channels == STUDENT
    moved = [not torch.equal(v, start[k]) for k, v in trainer.model.state_dict().items()]
    assert all(moved)
    live = trained(name, "live", run=run)
    assert live.history[0].losses == pytest.approx(report.losses, rel=5e-3)
    assert live.best_score == pytest.approx(report.score, rel=2e-3)


@pytest.mark.parametrize("name", ["stcd", "fitnet"])
def test_a_trial_is_its_parameters_and_its_seed(name):
    first, again, other = trained(name, "bank"), trained(name, "bank"), trained(name, "bank", seed=4)
    assert weights_equal(first.best_weights, again.best_weights)
    assert not weights_equal(first.best_weights, other.best_weights)
    assert first.settings.seed == 3
    assert (first.settings.batch_size, first.settings.learning_rate) == (20, 2e-3)


def test_params_are_left_as_they_were():
    given = params("stcd")
    objective("stcd", "bank").trainer(given, "cpu", 0)
    assert given == params("stcd")
    assert set(TRAINING_PARAMS) == set(PARAMS)


def test_hyperparameters_reach_the_loss():
    made = objective("stcd", "bank")
    scores = set()
    for alpha3 in (0.05, 1.0):
        trainer = made.trainer({**params("stcd"), "alpha3": alpha3}, "cpu", 0)
        scores.add(trainer.epoch().score)
    assert len(scores) == 2


def test_wrong_hyperparameters_are_refused():
    with pytest.raises(UserError, match="misses hyperparameter alpha"):
        objective("stcd", "bank").trainer(PARAMS, "cpu", 0)
    with pytest.raises(UserError, match="no hyperparameter 'beta'"):
        objective("stcd", "bank").trainer({**params("stcd"), "beta": 0.5}, "cpu", 0)


def test_the_teacher_of_other_data_is_refused():
    made = objective("stcd", "live", data=tiny(seed=1))
    wrong = DistillationObjective(DATA, "stcd", made.settings, teacher=made.teacher)
    with pytest.raises(UserError, match="was trained on"):
        wrong.trainer(params("stcd"), "cpu", 0)


def test_a_trial_never_runs_the_teacher_when_there_is_a_bank(monkeypatch):
    made = objective("stcd", "bank")
    kept = objective("stcd", "live").teacher
    both = DistillationObjective(DATA, "stcd", made.settings, made.bank, kept)
    monkeypatch.setattr(Checkpoint, "network", lambda *_: pytest.fail("the teacher was built"))
    both.trainer(params("stcd"), "cpu", 0).epoch()
