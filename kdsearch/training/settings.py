"""How a network is trained: one frozen description for teacher, student and fine-tuning."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

__all__ = ["ErrorName", "FitSettings", "OptimizerName", "ScheduleName"]

OptimizerName = Literal["rmsprop", "adam"]
ScheduleName = Literal["step", "cosine"]
ErrorName = Literal["squared", "absolute"]

# Added after networks had been cached and results stored: their usual values are left out of what names a training.
_LATER = ("optimizer", "schedule", "error", "rollout_start", "rollout_warmup", "rollout_rate", "average")


@dataclass(frozen=True)
class FitSettings:
    """The protocol of section 4 of the paper; a search changes what its space names.

    Attributes:
        epochs: training length. One epoch is about as many updates as one pass over the full PeMSD7 training set:
            on smaller data it takes several passes (``Dataset.passes_per_epoch``), so that learning-rate schedule
            and update count compare across datasets.
        batch_size: windows an update.
        learning_rate: initial rate of :class:`kdsearch.training.rmsprop.TFRMSprop`.
        optimizer: ``"rmsprop"``, or ``"adam"`` (Kingma & Ba 2015) with PyTorch's betas.
        schedule: ``"step"`` multiplies the rate by ``lr_decay`` every ``lr_every`` epochs; ``"cosine"`` lets it fall to
            nearly 0 along half a cosine over all epochs (Loshchilov & Hutter 2017).
        lr_decay, lr_every: of the schedule ``"step"``.
        error: of a forecast in the response terms of the loss: ``"squared"``, or ``"absolute"`` as the MAE reported.
        seed: of the weights' initial values and of the order of windows.
        rollout_steps: how many forecast steps are trained through; 1 is the paper's protocol.
        rollout_start: epochs before that, trained one step ahead: they cost a fifth, and forecasts that are fed back
            should be worth something. A cosine schedule begins anew after them.
        rollout_rate: share of the learning rate that is left to the epochs after ``rollout_start``.
        rollout_warmup: epochs from there in which the number of steps grows evenly from 1, a curriculum (Bengio et al.
            2009); 0 trains through all steps at once.
        run_length: how many consecutive windows are drawn together. 1 draws windows independently (the paper's
            protocol). More lets one pass over a longer input serve them all, since STGCN is time-equivariant. Windows
            that are rolled out are drawn alone.
        average: decay of a moving average of the weights (:class:`kdsearch.training.averaging.WeightAverage`), which is
            then what is validated and kept; 0 keeps the weights themselves.
    """

    epochs: int = 50
    batch_size: int = 50
    learning_rate: float = 1e-3
    lr_decay: float = 0.7
    lr_every: int = 5
    seed: int = 0
    rollout_steps: int = 1
    run_length: int = 1
    optimizer: OptimizerName = "rmsprop"
    schedule: ScheduleName = "step"
    error: ErrorName = "squared"
    rollout_start: int = 0
    rollout_warmup: int = 0
    rollout_rate: float = 1.0
    average: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "lr_every", "rollout_steps", "run_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.run_length > 1 and self.rollout_steps > 1 and not self.rollout_start:
            raise ValueError("run_length and rollout_steps cannot both exceed 1: a roll-out feeds back per window")
        for name, names in (
            ("optimizer", get_args(OptimizerName)),
            ("schedule", get_args(ScheduleName)),
            ("error", get_args(ErrorName)),
        ):
            if getattr(self, name) not in names:
                raise ValueError(f"{name} must be one of {', '.join(names)}, got {getattr(self, name)!r}")
        for name in ("rollout_start", "rollout_warmup"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.rollout_start and self.rollout_start >= self.epochs:
            raise ValueError(f"rollout_start must be below the {self.epochs} epochs, got {self.rollout_start}")

        if self.rollout_rate <= 0:
            raise ValueError(f"rollout_rate must be above 0, got {self.rollout_rate}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average must be at least 0 and below 1, got {self.average}")

    def plain(self) -> dict[str, Any]:
        """As plain values, to name a training by."""
        usual = {f.name: f.default for f in fields(self) if f.name in _LATER}
        return {name: value for name, value in asdict(self).items() if name not in usual or value != usual[name]}

    def steps(self, epoch: int) -> int:
        """Forecast steps that an epoch counted from 1 trains through."""
        after = epoch - self.rollout_start
        if after <= 0:
            return 1
        if after > self.rollout_warmup:
            return self.rollout_steps
        return 1 + (self.rollout_steps - 1) * (after - 1) // self.rollout_warmup

    def run(self, epoch: int) -> int:
        """Consecutive windows that an epoch counted from 1 draws together."""
        return self.run_length if self.rollout_steps == 1 or epoch <= self.rollout_start else 1

    def effort(self, epoch: int) -> float:
        """About what an epoch counted from 1 costs, one of windows that are drawn together and not rolled out being 1.

        Measured for teacher and student on 228 sensors, two CPU threads: good for a time that is left, no more.
        """
        steps = self.steps(epoch)
        return 1.0 if steps == 1 and self.run(epoch) > 1 else 2.0 + steps

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch counted from 1."""
        rolled = 0 < self.rollout_start < epoch
        highest = self.learning_rate * self.rollout_rate if rolled else self.learning_rate
        if self.schedule == "cosine":
            begin, end = (self.rollout_start, self.epochs) if rolled else (0, self.rollout_start or self.epochs)
            return highest * 0.5 * (1.0 + math.cos(math.pi * (epoch - 1 - begin) / (end - begin)))
        return highest * self.lr_decay ** ((epoch - 1) // self.lr_every)
