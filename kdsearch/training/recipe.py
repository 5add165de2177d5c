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
        "rollout_warmup": 5,
    },
}


def with_recipe(settings: FitSettings, name: str) -> FitSettings:
    """The settings as a recipe has them; length, batch size, rate and seed stay."""
    return replace(settings, **RECIPES[name])
