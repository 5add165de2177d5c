"""One call from a trained network to a smaller one."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

from kdsearch.data import Dataset
from kdsearch.distillation import losses
from kdsearch.distillation.bank import LiveTeacher
from kdsearch.errors import UserError
from kdsearch.models.stgcn import STGCN
from kdsearch.pruning.algorithm import Pruner, Stage
from kdsearch.pruning.settings import PruneSettings
from kdsearch.training.fit import Trainer, fit
from kdsearch.training.parts import LossFunction, Teacher
from kdsearch.training.report import EpochReport
from kdsearch.training.settings import FitSettings

__all__ = ["prune"]


def prune(
    model: STGCN,
    dataset: Dataset,
    loss: LossFunction,
    pruning: PruneSettings,
    settings: FitSettings | None = None,
    teacher: STGCN | Teacher | None = None,
    device: str = "cpu",
    on_epoch: Callable[[EpochReport], bool | None] | None = None,
    on_stage: Callable[[Stage], None] | None = None,
) -> STGCN:
    """Prune a trained network and fine-tune it (Algorithm 1).

    Args:
        model: trained; left as it is.
        dataset: what to train on. Only training and validation days are read.
        loss: from :func:`kdsearch.distillation.losses.build`.
        pruning: how much, how fast, by which measure.
        settings: of the training that pruning is part of.
        teacher: the full teacher, or what gives the loss its part of it; None for a loss that reads no teacher.
        device: where to train.
        on_epoch: called after each epoch; a true value ends the training.
        on_stage: called after each stage.

    Returns:
        The epoch of the lowest validation score after the last stage, in evaluation mode: a smaller dense network, or
        at ``weight`` granularity one of the same shape with zeros.

    Raises:
        UserError: model, teacher and dataset do not fit each other, the loss lacks its teacher, the target is out of
            reach, or the training is too short.
        FloatingPointError: the training diverged.
    """
    for what, network in (("network", model), ("teacher", teacher)):
        if isinstance(network, STGCN) and network.n_nodes != dataset.n_nodes:
            raise UserError(
                f"the {what} has {network.n_nodes} nodes and {dataset.name} has {dataset.n_nodes}: "
                "give those that belong together"
            )
    if teacher is None and isinstance(loss, losses.Loss) and loss.needs.teacher:
        raise UserError(f"loss {loss.name} reads a teacher: give prune() the full one")
    settings = settings or FitSettings()
    told = LiveTeacher(teacher, device, settings.rollout_steps) if isinstance(teacher, STGCN) else teacher
    pruner = Pruner(pruning, on_stage)
    trainer = Trainer(copy.deepcopy(model), dataset, loss, settings, told, device, pruner)
    if pruner.schedule.warning:
        warnings.warn(pruner.schedule.warning, stacklevel=2)
    fit(trainer, on_epoch=on_epoch)
    trainer.model.load_state_dict(trainer.best_weights)
    return trainer.model.eval()
