"""What a search leaves in its folder, by name (README, "What you get")."""

from __future__ import annotations

__all__ = [
    "BEST",
    "CHECKPOINTS",
    "CONFIRMATION",
    "CONFIRMING",
    "FRONT",
    "JOURNAL",
    "LOCK",
    "REPORT",
    "STATES",
    "TENSORBOARD",
    "TRIALS",
    "WINNER",
]

JOURNAL = "study.journal"  # the Optuna study, which everything else can be made from
TRIALS = "trials.parquet"
BEST = "best.json"
FRONT = "front.json"
REPORT = "report.html"
TENSORBOARD = "tensorboard"
CHECKPOINTS = "checkpoints"
WINNER = f"{CHECKPOINTS}/best.pt"
CONFIRMATION = "confirm.json"
CONFIRMING = ".confirm"  # weights of the confirmation's trainings
STATES = ".trials"  # of trials that were cut off
LOCK = ".lock"  # whoever writes here holds it
