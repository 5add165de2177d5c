"""Samplers and schedulers by name, and what a search of two objectives allows: known without Ray or Optuna."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from kdsearch.errors import UserError, suggestion

__all__ = ["SAMPLERS", "SCHEDULERS", "check_sampler", "check_scheduler"]

# Packages a sampler needs beyond Optuna's own.
SAMPLERS: Mapping[str, tuple[str, ...]] = {
    "tpe": (),
    "random": (),
    "gp": ("scipy", "torch"),
    "cmaes": ("cmaes",),
    "qmc": ("scipy",),
}
SCHEDULERS = ("asha", "hyperband", "median", "none")
# Those that know two objectives.
_PARETO_SAMPLERS = ("tpe", "random", "gp", "qmc")
_PARETO_SCHEDULERS = ("asha", "none")


def check_sampler(name: str, objectives: int = 1) -> None:
    """Refuse an unknown sampler, one that cannot have so many objectives, or one whose packages are absent.

    Raises:
        UserError: in one sentence.
    """
    if name not in SAMPLERS:
        raise UserError(f"--sampler: {name!r} is not one of {', '.join(SAMPLERS)}{suggestion(name, SAMPLERS)}")
    for package in SAMPLERS[name]:
        if importlib.util.find_spec(package) is None:
            raise UserError(f"--sampler {name} needs the package {package}: pip install {package}")
    if objectives > 1 and name not in _PARETO_SAMPLERS:
        raise UserError(
            f"--sampler {name} knows one objective only: --objective pareto takes {', '.join(_PARETO_SAMPLERS)}"
        )


def check_scheduler(name: str, objectives: int = 1) -> None:
    """Refuse an unknown scheduler, or one that cannot have so many objectives.

    Raises:
        UserError: in one sentence.
    """
    if name not in SCHEDULERS:
        raise UserError(f"--scheduler: {name!r} is not one of {', '.join(SCHEDULERS)}{suggestion(name, SCHEDULERS)}")
    if objectives > 1 and name not in _PARETO_SCHEDULERS:
        raise UserError(f"--scheduler {name} compares scores alone: --objective pareto takes asha or none")
