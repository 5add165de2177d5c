"""One trial of a search with pruning: Algorithm 1 with given hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kdsearch.data import Dataset
from kdsearch.distillation.objective import DistillationObjective
from kdsearch.errors import UserError
from kdsearch.models.layout import Layout
from kdsearch.pruning.algorithm import Pruner, plan
from kdsearch.pruning.schedule import Schedule
from kdsearch.pruning.settings import PruneSettings
from kdsearch.training.batches import updates_per_epoch
from kdsearch.training.checkpoint import Checkpoint
from kdsearch.training.fit import Trainer
from kdsearch.training.latency import forward_time
from kdsearch.training.network import new_network
from kdsearch.training.settings import FitSettings

__all__ = [
    "COSTS",
    "FROM_TEACHER_ABOVE",
    "LATENCY_BATCH",
    "LATENCY_RUNS",
    "PARAMS",
    "PERCENT",
    "PruningObjective",
    "epochs_of_pruning",
    "planned",
    "settings_of",
    "start_network",
]

# Percent above which pruning starts from the teacher.
FROM_TEACHER_ABOVE = 90.0

# The pruned percent where it is searched, for a front of networks of many sizes.
PERCENT = "pruned_percent"
PARAMS = ("pruning_minibatch", "stage_percent", PERCENT)

LATENCY_BATCH, LATENCY_RUNS = 256, 20


def _parameters(trainer: Trainer) -> float:
    pruner = trainer.pruning
    return float(pruner.n_parameters if isinstance(pruner, Pruner) else trainer.model.n_parameters())


def _latency(trainer: Trainer) -> float:
    return 1e3 * forward_time(trainer.model, LATENCY_BATCH, LATENCY_RUNS).median


# What a search of two objectives weighs against the score: parameters left, or milliseconds of a forward pass over 256
# windows (median of 20) in the trial's own process.
COSTS: Mapping[str, Callable[[Trainer], float]] = {"parameters": _parameters, "latency": _latency}


def start_network(percent: float) -> str:
    """Which network is pruned: ``"teacher"`` or ``"base"``.

    Table 7 prunes 97% of the teacher, Table 8 75, 50 and 25% of the base model, which is about a tenth of the teacher.
    For a percent the paper does not have, what is left of the teacher would be a base model or less above 90 (reading).
    """
    return "teacher" if percent > FROM_TEACHER_ABOVE else "base"


def settings_of(template: PruneSettings, params: Mapping[str, Any]) -> PruneSettings:
    """The pruning of one trial; its hyperparameters replace what stands for them in the template.

    Raises:
        UserError: one of them is out of its range, or no whole number where one is wanted.
    """
    minibatch, share = params.get(PARAMS[0], template.pruning_minibatch), params.get(PARAMS[1])
    if not float(minibatch).is_integer():
        raise UserError(f"pruning_minibatch={minibatch:g} wants a whole number of minibatches")
    return replace(
        template,
        percent=float(params.get(PERCENT, template.percent)),
        pruning_minibatch=int(minibatch),
        stage_percent=template.stage_percent if share is None else float(share),
    )


def planned(dataset: Dataset, settings: PruneSettings, start: Layout) -> Schedule:
    """The stages that pruning a network of that layout will take, known before any is trained.

    Raises:
        UserError: the target is out of reach.
    """
    return plan(new_network(dataset, start, seed=0), settings)


def epochs_of_pruning(dataset: Dataset, schedule: Schedule, settings: PruneSettings, fit: FitSettings) -> int:
    """The epoch in which a pruning is finished: the first one that can be a trial's best."""
    updates = len(schedule.stages) * settings.pruning_minibatch
    return max(1, math.ceil(updates / updates_per_epoch(dataset, fit)))


@dataclass(frozen=True, eq=False)
class PruningObjective:
    """Builds the trials of one search with pruning.

    Attributes:
        distillation: loss, full teacher and protocol; its own student is not built.
        start: the trained network that every trial prunes a copy of.
        pruning: what all trials share; interval, share of a stage and perhaps the percent are hyperparameters.
        cost: one of :data:`COSTS`, for a search of two objectives.
    """

    distillation: DistillationObjective
    start: Checkpoint
    pruning: PruneSettings
    cost: str | None = None

    def trainer(self, params: Mapping[str, Any], device: str, seed: int) -> Trainer:
        """A copy of the start network, its pruner and its training, all from ``params`` and ``seed``."""
        others = {name: value for name, value in params.items() if name not in PARAMS}
        pruner = Pruner(settings_of(self.pruning, params))
        model = self.start.network(self.distillation.dataset)
        cost = None if self.cost is None else COSTS[self.cost]
        return self.distillation.training_of(model, others, device, seed, pruner, cost)
