"""All losses by name (SPEC of the paper: section 3.1; rivals: skd, fitnet, at, nst).

To add one, subclass :class:`Loss` with a name (its docstring shows how) and import the module that does.
"""

from __future__ import annotations

from kdsearch.distillation.losses import response, space_time
from kdsearch.distillation.losses.base import (
    Hyperparameter,
    Loss,
    LossTerms,
    Needs,
    Scale,
    build,
    get,
    hyperparameters,
    masked_mean,
    names,
)

__all__ = [
    "Hyperparameter",
    "Loss",
    "LossTerms",
    "Needs",
    "Scale",
    "build",
    "get",
    "hyperparameters",
    "masked_mean",
    "names",
    "response",
    "space_time",
]
