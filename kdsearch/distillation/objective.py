"""One trial: a student distilled from the bank with given hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from kdsearch.data import Dataset
from kdsearch.distillation import losses
from kdsearch.distillation.bank import BankReader, LiveTeacher, TeacherBank
from kdsearch.models.layout import Layout
from kdsearch.models.stgcn import STGCN, STUDENT
from kdsearch.training.checkpoint import Checkpoint
from kdsearch.training.fit import Trainer
from kdsearch.training.network import new_network
from kdsearch.training.parts import Pruning
from kdsearch.training.settings import FitSettings

__all__ = ["TRAINING_PARAMS", "DistillationObjective"]

# Hyperparameters of every trial that belong to the training loop, not to the loss.
TRAINING_PARAMS = ("batch_size", "learning_rate")


@dataclass(frozen=True, eq=False)
class DistillationObjective:
    """Builds the trials of one search.

    Attributes:
        dataset: readings and split; test days are never read by a trial.
        loss: name in the registry of losses.
        settings: protocol; batch size and learning rate come from the trial's hyperparameters.
        bank: what the loss reads of the teacher, or None.
        teacher: the teacher itself, run on every minibatch, if its bank would not fit.
        layout: architecture of the student.
    """

    dataset: Dataset
    loss: str
    settings: FitSettings
    bank: TeacherBank | None = None
    teacher: Checkpoint | None = None
    layout: Layout = field(default_factory=lambda: Layout.of(STUDENT))

    def trainer(self, params: Mapping[str, Any], device: str, seed: int) -> Trainer:
        """A fresh student, its loss and its training, all from ``params`` and ``seed``."""
        return self.training_of(new_network(self.dataset, self.layout, seed), params, device, seed)

    def training_of(
        self,
        model: STGCN,
        params: Mapping[str, Any],
        device: str,
        seed: int,
        pruning: Pruning | None = None,
        cost: Callable[[Trainer], float] | None = None,
    ) -> Trainer:
        """The training of a given network with the hyperparameters of loss and training."""
        values = dict(params)
        settings = replace(
            self.settings,
            batch_size=int(values.pop("batch_size")),
            learning_rate=float(values.pop("learning_rate")),
            seed=seed,
        )
        torch.manual_seed(seed)
        loss = losses.build(
            self.loss, scale=losses.Scale(self.dataset.mean, self.dataset.std), error=settings.error, **values
        )
        told: BankReader | LiveTeacher | None = None
        if self.bank is not None:
            told = BankReader(self.bank, device)
        elif self.teacher is not None:
            told = LiveTeacher(self.teacher.network(self.dataset), device, settings.rollout_steps)
        return Trainer(model, self.dataset, loss, settings, told, device, pruning, cost)
