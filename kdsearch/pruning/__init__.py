"""Pruning a network while it learns from its teacher (section 3.2, Algorithm 1)."""

from __future__ import annotations

from kdsearch.pruning.algorithm import Pruner, Stage, plan
from kdsearch.pruning.api import prune
from kdsearch.pruning.compact import compact
from kdsearch.pruning.schedule import Schedule
from kdsearch.pruning.settings import PruneSettings

__all__ = ["PruneSettings", "Pruner", "Schedule", "Stage", "compact", "plan", "prune"]
