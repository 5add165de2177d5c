"""Search folders as a search leaves them, made in no time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from kdsearch.contents import JOURNAL, TRIALS
from kdsearch.search.record import write_trials
from kdsearch.search.report import Report
from kdsearch.search.study import finish, open_study, read_study, report_score

SETUP = {
    "dataset": "demo",
    "data": "d0",
    "loss": "stcd",
    "prune": None,
    "fixed": {},
    "epochs": 9,
    "scheduler": "asha",
    "sampler": "tpe",
    "seed": 0,
    "grace": 1,
    "reduction": 3,
}
SPACE: dict[str, BaseDistribution] = {
    "batch_size": CategoricalDistribution((16, 25, 50)),
    "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    "alpha1": FloatDistribution(0.0, 1.0),
}

Score = Callable[[Mapping[str, Any], int], float]


def score_of(params: Mapping[str, Any], epoch: int) -> float:
    """Falls with the epochs towards a value that the learning rate decides most."""
    return 3.0 + abs(math.log10(params["learning_rate"] / 2e-3)) + 0.05 * params["alpha1"] + 2.0 / epoch


def asha_stops(rungs: dict[int, list[float]], epoch: int, value: float, reduction: int = 3) -> bool:
    """Whether a trial is stopped at a rung; the first ones go on."""
    if epoch not in rungs:
        return False
    before = sorted(rungs[epoch])
    rungs[epoch].append(value)
    return bool(before) and value > before[max(0, math.ceil(len(before) / reduction) - 1)]


def make_search(
    folder: Path,
    trials: int = 20,
    setup: Mapping[str, Any] | None = None,
    space: Mapping[str, BaseDistribution] | None = None,
    score: Score = score_of,
    unfinished: bool = False,
    costs: bool = False,
    workers: bool = True,
) -> optuna.Study:
    """A study with a failed trial (number 3) and ASHA's stops, its journal and its table; no best.json."""
    setup, space = {**SETUP, **(setup or {})}, dict(space or SPACE)
    folder.mkdir(parents=True, exist_ok=True)
    study = open_study(folder, setup, resume=False, objectives=2 if costs else 1)
    study.sampler = optuna.samplers.RandomSampler(seed=1)
    rungs: dict[int, list[float]] = {1: [], 3: []}
    for number in range(trials):
        trial = study.ask(space)
        trial.set_user_attr("seed", 0)
        if workers:
            trial.set_user_attr("worker", number % 2)
        state, report = TrialState.COMPLETE, Report(0)
        cost = 1000.0 + 9000.0 * trial.params.get("alpha1", 0.5) if costs else None
        for epoch in range(1, int(setup["epochs"]) + 1):
            value = score(trial.params, epoch)
            if number == 3:
                state = TrialState.FAIL
                break
            validation = {f"{m}_{t}": value + t / 100 for t in (15, 30, 45) for m in ("mae", "rmse", "mape")}
            report = Report(
                epoch,
                value,
                best_score=value,
                best_epoch=epoch,
                best_validation=validation,
                total_seconds=2.0 * epoch,
                cost=cost,
            )
            report_score(trial, value, epoch)
            if asha_stops(rungs, epoch, value):
                state = TrialState.PRUNED
                break
        if unfinished and number == trials - 1:
            break
        finish(trial, state, report, "ValueError: <b>no</b>" if state is TrialState.FAIL else None)
    write_trials(study, folder / TRIALS)
    return study


def write_document(folder: Path, document: Mapping[str, Any], name: str = "best.json") -> None:
    """Write a best.json or front.json of a search that has ended."""
    if "search" in document:
        states = [t.state.name for t in read_study(folder).get_trials(deepcopy=False)]
        counts = {
            "completed": states.count("COMPLETE"),
            "stopped": states.count("PRUNED"),
            "failed": states.count("FAIL"),
        }
        document = {**document, "search": {**document["search"], **counts}}
    (folder / name).write_text(json.dumps(document), encoding="utf-8")


def per_seed(count: int = 3, start: float = 2.5) -> list[dict[str, Any]]:
    """What a confirmation leaves of each seed."""
    runs = []
    for seed in range(1, count + 1):
        figures = {f"{m}_{t}": start + t / 30 + 0.02 * seed for t in (15, 30, 45) for m in ("mae", "rmse", "mape")}
        runs.append({"seed": seed, "epoch": 8, "validation": {"score": start + 0.1 * seed, **figures}, "test": figures})
    return runs


def frozen(number: int, state: TrialState, seconds: tuple[float, float]) -> FrozenTrial:
    """A trial that ran between two times."""
    began = datetime(2026, 1, 1)
    trial = optuna.create_trial(state=state, value=1.0 if state is TrialState.COMPLETE else None)
    trial.number = number
    trial.datetime_start = began + timedelta(seconds=seconds[0])
    trial.datetime_complete = began + timedelta(seconds=seconds[1])
    return trial


__all__ = ["JOURNAL", "SETUP", "SPACE", "frozen", "make_search", "per_seed", "score_of", "write_document"]
