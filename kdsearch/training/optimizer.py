"""Optimisers by name."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import torch
from torch import Tensor

from kdsearch.training.rmsprop import TFRMSprop
from kdsearch.training.settings import OptimizerName

__all__ = ["make_optimizer"]


def make_optimizer(name: OptimizerName, parameters: Iterable[Tensor], rate: float) -> torch.optim.Optimizer:
    """An optimiser whose state is one tensor shaped like each parameter, or a scalar."""
    _without_compiler()
    if name == "adam":
        return torch.optim.Adam(parameters, lr=rate, foreach=True)
    return TFRMSprop(parameters, lr=rate)


def _without_compiler() -> None:
    """Keep ``Optimizer`` from importing torch's compiler, which takes every new process a second.

    Its methods do so when they are first called, only to be marked as not to be compiled. Torch's Adam does so in any
    case.
    """
    if "torch._dynamo" in sys.modules:
        return
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        method = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
        if method is not None and not hasattr(method, "__dynamo_disable"):
            setattr(method, "__dynamo_disable", method)
