"""What a search costs beside its training: trials of a set length, some at a time, under Ray Tune and Optuna."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.benchmarks.workload import ALPHAS, Draws
from kdsearch.distillation.objective import DistillationObjective
from kdsearch.search.runner import run_search
from kdsearch.search.settings import SearchSettings
from kdsearch.search.space import Parameter, Space
from kdsearch.training.evaluate import evaluate_windows
from kdsearch.training.fit import EpochReport
from kdsearch.training.metrics import score

__all__ = ["search_overhead"]

_EPOCHS = 5


class TimedRun:
    """A trial whose epochs train for a set time: updates and one validation each, all of it real."""

    layout: Mapping[str, Any] | None = None
    cost: float | None = None

    def __init__(self, trainer: Any, draw: Draws, seconds: float) -> None:
        self._trainer, self._draw, self._seconds = trainer, draw, seconds
        self._validation_s = 0.0
        self.best_score, self.best_epoch = float("inf"), 0
        self.best_validation: Mapping[str, float] = {}
        self.best_weights: Mapping[str, Any] = {}

    def epoch(self) -> EpochReport:
        began = time.perf_counter()
        trainer = self._trainer
        # What the last epoch took too long is taken from this one: the trial has its length.
        budget = (len(trainer.history) + 1) * self._seconds - sum(r.seconds for r in trainer.history)
        while True:
            trainer.update(self._draw())
            if time.perf_counter() - began + self._validation_s >= budget:
                break
        validating = time.perf_counter()
        figures = evaluate_windows(trainer.model, trainer.validation_windows, trainer.horizons)
        ended = time.perf_counter()
        self._validation_s = ended - validating
        number = len(trainer.history) + 1
        report = EpochReport(number, score(figures), figures, {}, 1e-3, ended - began)
        trainer.history.append(report)
        if report.score < self.best_score:
            self.best_score, self.best_epoch, self.best_validation = report.score, number, figures
            self.best_weights = {k: v.detach().clone() for k, v in trainer.model.state_dict().items()}
        return report

    def state_dict(self) -> Mapping[str, Any]:
        return self._trainer.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._trainer.load_state_dict(state)


@dataclass(frozen=True, eq=False)
class TimedObjective:
    """Trials of the objective, of a set length."""

    objective: DistillationObjective
    draw: Draws
    epoch_seconds: float

    def trainer(self, params: Mapping[str, Any], device: str, seed: int) -> TimedRun:
        return TimedRun(self.objective.trainer(params, device, seed), self.draw, self.epoch_seconds)


def search_overhead(
    objective: DistillationObjective, draw: Draws, trials: int, trial_seconds: float, at_once: int
) -> dict[str, float]:
    """Share of the workers' time in a search that went neither into updates nor into validation.

    The search's wall time counts from its first line to its last: Ray's start and end are in it.

    Returns:
        ``overhead``; ``wall`` seconds; ``busy`` seconds of one of the ``at_once`` workers.
    """
    fixed = {"batch_size": draw.batch, **{k: v for k, v in ALPHAS.items() if objective.loss == "stcd"}}
    rate = Parameter("learning_rate", low=3e-4, high=1e-3, log=True)
    space = Space(objective.loss, (rate,), fixed=fixed)
    with tempfile.TemporaryDirectory() as folder:
        settings = SearchSettings(
            Path(folder) / "search",
            trials,
            _EPOCHS,
            concurrency=at_once,
            gpus_per_trial=0,
            scheduler="none",
        )
        found = run_search(TimedObjective(objective, draw, trial_seconds / _EPOCHS), space, settings)
    if found.completed != trials:
        raise RuntimeError(f"{found.completed} of {trials} trials ended well")
    busy = found.trial_seconds / at_once
    return {"overhead": 1 - busy / found.seconds, "wall": found.seconds, "busy": busy}
