"""What is pruned, how fast, and by which measure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from kdsearch.errors import UserError

__all__ = ["Criterion", "FinetuneLoss", "GranularityName", "PruneSettings", "Unreachable"]

GranularityName = Literal["filter", "weight"]
Criterion = Literal["kdis", "taylor"]
FinetuneLoss = Literal["kd", "task"]
Unreachable = Literal["error", "nearest"]


@dataclass(frozen=True)
class PruneSettings:
    """Algorithm 1's inputs and the choices the paper leaves open.

    Attributes:
        percent: of all parameters, how many to take away (97 in Table 7; 25, 50, 75 in Table 8).
        pruning_minibatch: minibatches between stages, over which KDIS is averaged.
        stage_percent: n, the share of what is left that each stage takes from each layer.
        granularity: ``"filter"`` removes channels with everything coupled to them, so that the network gets smaller
            and faster; ``"weight"`` zeroes single weights, Algorithm 1 to the letter.
        criterion: gradients of the training loss (``"kdis"``, Eq. 12) or of the task loss alone (``"taylor"``,
            Molchanov et al. 2019; with the loss ``none`` the "traditional pruning" of Table 8).
        finetune_loss: after the last stage, ``"kd"`` trains on with the loss (section 3.2), ``"task"`` with the plain
            ST-GCN loss (Algorithm 1, line 25). The paper says both (reading).
        unreachable: a target that cannot be met within one point is an ``"error"``, or the ``"nearest"`` share is
            taken.
        full: parameters that count as 100%; None: of the network that pruning starts from.

    Raises:
        UserError: a value out of its range.
    """

    percent: float
    pruning_minibatch: int = 50
    stage_percent: float = 20.0
    granularity: GranularityName = "filter"
    criterion: Criterion = "kdis"
    finetune_loss: FinetuneLoss = "kd"
    unreachable: Unreachable = "error"
    full: int | None = None

    def __post_init__(self) -> None:
        for name, meaning in (
            ("percent", "the share of parameters to remove"),
            ("stage_percent", "the share of each layer that a stage removes"),
        ):
            value = getattr(self, name)
            if not math.isfinite(value) or not 0.0 < value < 100.0:
                raise UserError(f"pruning {name}={value:g} is out of range: {meaning} lies between 0 and 100 percent")
        if self.pruning_minibatch < 1:
            raise UserError(f"pruning_minibatch={self.pruning_minibatch} must be at least 1 minibatch")
        if self.full is not None and self.full < 1:
            raise UserError(f"full={self.full} must be a number of parameters above 0")
        for name, choices in (
            ("granularity", get_args(GranularityName)),
            ("criterion", get_args(Criterion)),
            ("finetune_loss", get_args(FinetuneLoss)),
            ("unreachable", get_args(Unreachable)),
        ):
            if getattr(self, name) not in choices:
                raise UserError(f"pruning {name}={getattr(self, name)!r} is unknown: choose {' or '.join(choices)}")
