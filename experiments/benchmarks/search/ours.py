"""kdsearch itself, with one of its samplers and its ASHA, by the call that ``kdsearch.tune`` makes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from experiments.benchmarks.search.task import Task

__all__ = ["main"]

# More than any budget allows: the time ends the search.
_TRIALS = 10_000


def main(file: str, sampler: str) -> None:
    """Search until the budget is spent."""
    from kdsearch.search.runner import run_search
    from kdsearch.search.settings import SearchSettings

    task = Task.read(file)
    objective = task.objective()
    settings = SearchSettings(
        output=Path(task.output),
        trials=_TRIALS,
        epochs=task.epochs,
        concurrency=task.workers,
        gpus_per_trial=0,
        time_budget_s=task.remaining,
        sampler=sampler,
        seed=task.seed,
        grace=task.grace,
        reduction=task.reduction,
    )
    run_search(objective, replace(task.space(), known=()), settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
