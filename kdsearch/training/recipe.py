"""Named ways to train: what the paper does, and what was found to forecast best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from kdsearch.training.settings import FitSettings

__all__ = ["PAPER", "RECIPES", "student_rate", "with_recipe"]

PAPER = "paper"

# What each sets of FitSettings. What every lever was worth, and what was tried and left out, is in
# experiments/results/levers.md.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    PAPER: {},
    "best": {
        "optimizer": "adam",
        "schedule": "cosine",
        "error": "absolute",
        "rollout_steps": 9,
        "average": 0.99,
    },
}
# Of a student whose rate no search has chosen: one of the paper's 1e-3 is left undertrained.
_STUDENT_RATE = 3e-3
# A teacher's epoch through the roll-out costs five of its others: it is trained one step ahead first. A student's is
# cheap: it is rolled out from the start, over more and more steps.
_TEACHER_ONE_STEP = 0.75
_STUDENT_WARMUP = 0.25
# Begun anew at the full rate, a teacher forgets more in the roll-out than a few epochs of it bring back.
_TEACHER_ROLLOUT_RATE = 0.3


def with_recipe(settings: FitSettings, name: str, role: Literal["teacher", "student"]) -> FitSettings:
    """The settings as a recipe has them for a role; length, batch size, run length, seed and a teacher's rate stay."""
    if name == PAPER:
        return settings
    changes = RECIPES[name]
    if role == "teacher":
        start = int(_TEACHER_ONE_STEP * settings.epochs)
        return replace(settings, **changes, rollout_start=start, rollout_rate=_TEACHER_ROLLOUT_RATE)
    warmup = int(_STUDENT_WARMUP * settings.epochs)
    return replace(settings, **changes, rollout_warmup=warmup, learning_rate=_STUDENT_RATE)


def student_rate(name: str) -> float:
    """The learning rate of a recipe's student whose rate no search has chosen."""
    return with_recipe(FitSettings(), name, "student").learning_rate
