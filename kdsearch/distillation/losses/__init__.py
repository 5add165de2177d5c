"""All losses by name: those of the paper (section 3.1) and its rivals skd, fitnet, at, nst.

To add one, subclass :class:`Loss` with a name (its docstring shows how) and name it ``module:Class``.
"""

from __future__ import annotations

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
    protocol_of,
)

# Registration order: the paper's losses first.
# isort: off
from kdsearch.distillation.losses import response, space_time, skd, features
# isort: on

__all__ = [
    "Hyperparameter",
    "Loss",
    "LossTerms",
    "Needs",
    "Scale",
    "build",
    "features",
    "get",
    "hyperparameters",
    "masked_mean",
    "names",
    "protocol_of",
    "response",
    "skd",
    "space_time",
]
