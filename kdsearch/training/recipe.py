"""Named ways to train: what the paper does, and what was found to forecast best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from kdsearch.training.settings import FitSettings

__all__ = ["PAPER", "RECIPES", "with_recipe"]

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
    },
}
# A teacher's epoch through the roll-out costs five of its others: it is trained one step ahead first. A student's is
# cheap: it is rolled out from the start, over more and more steps.
_TEACHER_ONE_STEP = 0.75
_STUDENT_WARMUP = 0.25


def with_recipe(settings: FitSettings, name: str, role: Literal["teacher", "student"]) -> FitSettings:
    """The settings as a recipe has them for a role; length, batch size, rate, run length and seed stay."""
    changes = dict(RECIPES[name])
    if "rollout_steps" in changes:
        share = {"rollout_start": _TEACHER_ONE_STEP} if role == "teacher" else {"rollout_warmup": _STUDENT_WARMUP}
        changes |= {field: int(part * settings.epochs) for field, part in share.items()}
    return replace(settings, **changes)
