"""Plain Optuna as its documentation has it for several processes: TPE, MedianPruner, one study in a journal file."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.benchmarks.search.task import Task, TimeUp, epochs

if TYPE_CHECKING:
    import optuna

    from kdsearch.search.space import Space

__all__ = ["main", "suggest"]


def suggest(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """A configuration by Optuna's define-by-run calls."""
    params: dict[str, Any] = {}
    for p in space.parameters:
        if p.choices:
            params[p.name] = trial.suggest_categorical(p.name, list(p.choices))
            continue
        assert p.low is not None
        assert p.high is not None
        if p.integer:
            params[p.name] = trial.suggest_int(p.name, int(p.low), int(p.high), log=p.log)
        else:
            params[p.name] = trial.suggest_float(p.name, p.low, p.high, log=p.log)
    return space.full(params)


def main(file: str) -> None:
    """One process a core, forked before anything heavy is imported."""
    task = Task.read(file)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work, args=(task, number)) for number in range(task.workers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _work(task: Task, number: int) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    objective, space = task.objective(), task.space()

    def trial_value(trial: optuna.Trial) -> float:
        run = objective.trainer(suggest(trial, space), "cpu", task.seed)
        for report in epochs(run, task):
            if not math.isfinite(report.score):
                break
            trial.report(run.best_score, report.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(run.best_score)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="benchmark",
        storage=JournalStorage(JournalFileBackend(str(Path(task.output) / "journal.log"))),
        sampler=optuna.samplers.TPESampler(seed=task.seed * task.workers + number),
        pruner=optuna.pruners.MedianPruner(),
        direction="minimize",
        load_if_exists=True,
    )
    with contextlib.suppress(TimeUp):
        study.optimize(trial_value, timeout=task.remaining)


if __name__ == "__main__":
    main(sys.argv[1])
