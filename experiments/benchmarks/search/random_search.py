"""Random search without early stopping: processes that know nothing of each other."""

from __future__ import annotations

import math
import multiprocessing
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.benchmarks.search.task import Task, TimeUp, epochs

if TYPE_CHECKING:
    from kdsearch.search.space import Space

__all__ = ["draw", "main"]


def draw(space: Space, generator: np.random.Generator) -> dict[str, Any]:
    """A configuration, each hyperparameter by itself."""
    params: dict[str, Any] = {}
    for p in space.parameters:
        if p.choices:
            params[p.name] = p.choices[int(generator.integers(len(p.choices)))]
            continue
        assert p.low is not None
        assert p.high is not None
        if p.integer and not p.log:
            value = float(generator.integers(int(p.low), int(p.high) + 1))
        elif p.log:
            value = math.exp(generator.uniform(math.log(p.low), math.log(p.high)))
        else:
            value = generator.uniform(p.low, p.high)
        value = min(max(value, p.low), p.high)
        params[p.name] = round(value) if p.integer else value
    return space.full(params)


def main(file: str) -> None:
    """One process a worker, forked before anything heavy is imported."""
    task = Task.read(file)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work, args=(task, number)) for number in range(task.workers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _work(task: Task, number: int) -> None:
    objective, space = task.objective(), task.space()
    generator = np.random.default_rng([task.seed, number])
    try:
        while True:
            run = objective.trainer(draw(space, generator), "cpu", task.seed)
            for report in epochs(run, task):
                if not math.isfinite(report.score):
                    break
    except TimeUp:
        pass


if __name__ == "__main__":
    main(sys.argv[1])
