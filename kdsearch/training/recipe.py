"""Named ways to train: what the paper does, and what was found to forecast best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kdsearch.training.settings import FitSettings

__all__ = ["PAPER", "RECIPES", "with_recipe"]

PAPER = "paper"

# What each sets of FitSettings, for teacher and student alike. What every lever was worth, and what was tried and left
# out, is in experiments/results/levers.md.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    PAPER: {},
    "best": {
        "optimizer": "adam",
        "schedule": "cosine",
        "error": "absolute",
        "rollout_steps": 9,
    },
}
# Share of the epochs that a recipe trains one step ahead before it rolls out.
_ONE_STEP = 0.75


def with_recipe(settings: FitSettings, name: str) -> FitSettings:
    """The settings as a recipe has them; length, batch size, rate, run length and seed stay."""
    changes = dict(RECIPES[name])
    if "rollout_steps" in changes:
        changes["rollout_start"] = int(_ONE_STEP * settings.epochs)
    return replace(settings, **changes)
