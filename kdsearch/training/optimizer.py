"""Optimisers by name."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from kdsearch.training.rmsprop import TFRMSprop
from kdsearch.training.settings import OptimizerName

__all__ = ["make_optimizer"]


def make_optimizer(name: OptimizerName, parameters: Iterable[Tensor], rate: float) -> torch.optim.Optimizer:
    """An optimiser whose state is one tensor shaped like each parameter, or a scalar."""
    if name == "adam":
        return torch.optim.Adam(parameters, lr=rate, foreach=True)
    return TFRMSprop(parameters, lr=rate)
