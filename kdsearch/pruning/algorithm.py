"""Algorithm 1, joint KD pruning, as something that the one training loop drives.

The paper's lines in the loop's order: fine-tune on a minibatch (10), add its KDIS (11), and every
``pruning_minibatch`` minibatches average KDIS (12-15) and take the lowest n% of every layer away (16-20). After the
last stage the same loop fine-tunes for the epochs that are left (24-26).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from kdsearch.distillation import losses
from kdsearch.errors import UserError
from kdsearch.models.stgcn import STGCN
from kdsearch.pruning.granularity import Granularity, granularity
from kdsearch.pruning.importance import Importance, Statistics
from kdsearch.pruning.schedule import Schedule, make_schedule
from kdsearch.pruning.settings import PruneSettings
from kdsearch.training.fit import Trainer
from kdsearch.training.parts import Minibatch
from kdsearch.training.report import Histograms

__all__ = ["Pruner", "Stage", "plan"]

_TASK = "none"


@dataclass(frozen=True)
class Stage:
    """What one stage did.

    Attributes:
        number: counted from 1.
        minibatch: updates done when it happened.
        parameters: left after it.
        share: of the parameters that count as 100%.
        left: units left in each layer.
        channels: which channels are left in each layer, numbered as in the network that pruning began with; empty at
            weight granularity.
        importance: of the units of each layer, before this stage pruned it.
    """

    number: int
    minibatch: int
    parameters: int
    share: float
    left: dict[str, int]
    channels: dict[str, tuple[int, ...]]
    importance: dict[str, Statistics]

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> Stage:
        """Read what :meth:`plain` gave."""
        importance = {name: Statistics(**fields) for name, fields in value["importance"].items()}
        return cls(**{**value, "importance": importance})


def plan(model: STGCN, settings: PruneSettings) -> Schedule:
    """The stages that pruning ``model`` will take; importance decides which channels go, not how many.

    Raises:
        UserError: the model is already smaller than the target, or the target is out of reach.
    """
    return _schedule(granularity(settings.granularity, model), settings)


def _schedule(units: Granularity, settings: PruneSettings) -> Schedule:
    return make_schedule(
        units.widths, units.size, settings.percent, settings.stage_percent, settings.full, settings.unreachable
    )


class Pruner:
    """Prunes the network of one :class:`Trainer`: ``Trainer(..., pruning=Pruner(settings))``.

    Args:
        settings: what to prune, and how.
        on_stage: called after each stage.

    Attributes:
        stages: what was done so far.
        schedule: what is to be done; known once a trainer was built with this.
    """

    schedule: Schedule

    def __init__(self, settings: PruneSettings, on_stage: Callable[[Stage], None] | None = None) -> None:
        self.settings = settings
        self.stages: list[Stage] = []
        self._on_stage = on_stage
        self._units: Granularity
        self._importance: Importance

    @property
    def settled(self) -> bool:
        """Whether the last stage is done."""
        return len(self.stages) == len(self.schedule.stages)

    @property
    def minibatches(self) -> int:
        """Updates until the network has its final shape."""
        return len(self.schedule.stages) * self.settings.pruning_minibatch

    @property
    def n_parameters(self) -> int:
        """Parameters that are left now; at weight granularity those that are not held at zero."""
        return self._units.size(self._units.widths)

    @property
    def share(self) -> float:
        """:attr:`n_parameters` as a share of those that count as 100%."""
        return self.n_parameters / self.schedule.full

    def start(self, trainer: Trainer) -> None:
        """Plan the stages for the trainer's network.

        Raises:
            UserError: see :func:`plan`; also if the training is too short for all stages, or the loss has weights that
                fit the unpruned network only.
        """
        if list(trainer.loss.parameters()):
            raise UserError(
                "this loss trains weights of its own that are shaped by the network's channels, which pruning removes: "
                "prune with another loss"
            )
        self._units = granularity(self.settings.granularity, trainer.model)
        self._importance = Importance(trainer.model)
        self.schedule = _schedule(self._units, self.settings)
        self.stages = []
        epochs, updates = trainer.settings.epochs, trainer.updates_per_epoch
        if self.minibatches > epochs * updates:
            raise UserError(
                f"pruning takes {len(self.schedule.stages)} stages of {self.settings.pruning_minibatch} minibatches, "
                f"the training has {epochs * updates} in {epochs} epochs: lower pruning_minibatch, raise stage_percent "
                "or train longer"
            )
        if self.settled:  # a target so near that nothing has to go
            self._finetune(trainer)

    def after_backward(self, trainer: Trainer, batch: Minibatch) -> None:
        """Line 11: add the minibatch's KDIS."""
        if self.settled:
            return
        gradients: Sequence[Tensor | None]
        if self.settings.criterion == "taylor" and getattr(trainer.loss, "name", None) != _TASK:
            gradients = trainer.gradients(losses.build(_TASK, error=trainer.settings.error), batch)
        else:
            gradients = [p.grad for p in trainer.model.parameters()]
        self._importance.add(trainer.model, gradients)

    def after_step(self, trainer: Trainer) -> None:
        """Lines 12 to 21: prune when it is time."""
        self._units.enforce(trainer.model)
        if not self.settled and self._importance.minibatches == self.settings.pruning_minibatch:
            stage = self._prune(trainer)
            if stage.number == len(self.schedule.stages):
                self._finetune(trainer)
            if self._on_stage is not None:
                self._on_stage(stage)

    def _prune(self, trainer: Trainer) -> Stage:
        """Lines 13 to 20: the next stage."""
        self._importance.average()
        importance = self._units.importance(self._importance.values)
        counts = self.schedule.stages[len(self.stages)]
        keep = [_most_important(x, n) for x, n in zip(importance, counts, strict=True)]
        self._units.prune(trainer, self._importance, keep)
        names, number = self._units.names, len(self.stages) + 1
        stage = Stage(
            number=number,
            minibatch=number * self.settings.pruning_minibatch,
            parameters=self.n_parameters,
            share=self.share,
            left=dict(zip(names, self._units.widths, strict=True)),
            channels=self._units.channels,
            importance={name: Statistics.of(x) for name, x in zip(names, importance, strict=True)},
        )
        self.stages.append(stage)
        return stage

    def _finetune(self, trainer: Trainer) -> None:
        """Lines 24 and 25: what the epochs that are left train with."""
        if self.settings.finetune_loss == "task":
            trainer.loss, trainer.teacher = losses.build(_TASK, error=trainer.settings.error), None

    def figures(self) -> dict[str, float]:
        """Parameters, their share, what is left of each layer, and its mean importance before the last stage."""
        found = {"pruning/parameters": float(self.n_parameters), "pruning/share kept": self.share}
        unit = "channels" if self.settings.granularity == "filter" else "weights"
        for name, width in zip(self._units.names, self._units.widths, strict=True):
            found[f"pruning/{unit} {name}"] = float(width)
        for name, values in self.stages[-1].importance.items() if self.stages else ():
            found[f"pruning/importance {name}"] = values.total / values.count
        return found

    def histograms(self, after: int) -> Histograms:
        """Importances of each layer at the stages done after so many minibatches."""
        found: Histograms = {}
        for stage in self.stages:
            if stage.minibatch > after:
                for name, values in stage.importance.items():
                    found.setdefault(f"importance {name}", []).append((stage.minibatch, values.plain()))
        return found

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values to carry on from."""
        return {
            "settings": asdict(self.settings),
            "stages": [stage.plain() for stage in self.stages],
            "importance": self._importance.state_dict(),
            "units": self._units.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any] | None, trainer: Trainer) -> None:
        """Carry on where another trainer's pruner, with the same settings, had come to.

        Raises:
            UserError: it was pruned with other settings, or not at all.
        """
        if state is None or state["settings"] != asdict(self.settings):
            raise UserError("the saved training was pruned with other settings: carry on with those, or start afresh")
        self.stages = [Stage.from_plain(stage) for stage in state["stages"]]
        self._importance.load_state_dict(state["importance"])
        self._units.load_state_dict(state["units"], trainer.model)
        if self.settled:
            self._finetune(trainer)


def _most_important(importance: Tensor, count: int) -> Tensor:
    """Ascending positions of all but the least important; of equal ones the first goes first (lines 17 and 18)."""
    order = torch.argsort(importance, stable=True)
    return order[len(order) - count :].sort().values
