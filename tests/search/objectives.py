"""A small real thing to search: gradient descent on a bowl, with torch, a state, and every way to go wrong."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch


@dataclass
class BowlReport:
    epoch: int
    score: float
    validation: dict[str, float]
    losses: dict[str, float]
    learning_rate: float
    seconds: float


@dataclass
class Bowl:
    """Picklable objective. `data` shows that arrays arrive shared and read-only."""

    data: np.ndarray = field(default_factory=lambda: np.linspace(0.0, 1.0, 1000))
    pause: float = 0.0
    fail_where: float | None = None  # raise where x exceeds it
    kill_once: str | None = None  # a file; the worker kills itself once, in epoch 3
    log: str | None = None  # a file; a line an epoch: pid x epoch
    hungry_until: str | None = None  # a file; memory is short while it is not there
    costs: bool = False  # x is what the second objective counts, known from epoch 2

    def trainer(self, params: Mapping[str, Any], device: str, seed: int) -> BowlRun:
        return BowlRun(self, float(params["x"]), float(params["rate"]), seed)


class BowlRun:
    layout = None

    def __init__(self, objective: Bowl, x: float, rate: float, seed: int) -> None:
        self.objective, self.x, self.rate = objective, x, rate
        self.generator = torch.Generator().manual_seed(seed)
        self.w = torch.tensor(5.0, dtype=torch.float64)
        self.count = 0
        self.best_score, self.best_epoch = math.inf, 0
        self.best_validation: dict[str, float] = {}
        self.best_weights: dict[str, torch.Tensor] = {}

    @property
    def cost(self) -> float | None:
        return self.x if self.objective.costs and self.count >= 2 else None

    def epoch(self) -> BowlReport:
        began = time.perf_counter()
        self.count += 1
        if self.objective.pause:
            time.sleep(self.objective.pause)
        if self.objective.fail_where is not None and self.x > self.objective.fail_where:
            raise RuntimeError("the bowl broke\nand more lines")
        if self.objective.hungry_until and not Path(self.objective.hungry_until).exists():
            raise MemoryError
        if self.objective.kill_once and self.count == 3 and not Path(self.objective.kill_once).exists():
            Path(self.objective.kill_once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        noise = 0.01 * torch.randn((), generator=self.generator, dtype=torch.float64)
        self.w = self.w - self.rate * (self.w - self.x) + 0.0 * noise
        score = float((self.w - self.x) ** 2 + (self.x - 0.3) ** 2 + noise.abs())
        score += 0.0 * float(self.objective.data[0])
        if self.rate > 1e5:
            score = math.nan
        validation = {"mae_15": score, "rmse_15": 2 * score}
        if score < self.best_score:
            self.best_score, self.best_epoch, self.best_validation = score, self.count, validation
            self.best_weights = {"w": self.w.clone()}
        if self.objective.log:
            with Path(self.objective.log).open("a") as file:
                file.write(f"{os.getpid()} {self.x!r} {self.count} {score!r}\n")
        return BowlReport(self.count, score, validation, {"total": score}, self.rate, time.perf_counter() - began)

    def state_dict(self) -> dict[str, Any]:
        return {
            "w": self.w,
            "count": self.count,
            "generator": self.generator.get_state(),
            "best": [self.best_score, self.best_epoch],
            "best_validation": self.best_validation,
            "best_weights": self.best_weights,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.w, self.count = state["w"], state["count"]
        self.generator.set_state(state["generator"])
        self.best_score, self.best_epoch = state["best"]
        self.best_validation, self.best_weights = state["best_validation"], state["best_weights"]
