"""The training script that Syne Tune's local backend starts for each trial: hyperparameters come as arguments."""

from __future__ import annotations

import argparse
import contextlib
import math

from experiments.benchmarks.search.task import Task, TimeUp, epochs

__all__ = ["main"]


def main() -> None:
    """One trial."""
    from syne_tune import Reporter

    parser = argparse.ArgumentParser()
    parser.add_argument("--task", required=True)
    task = Task.read(parser.parse_known_args()[0].task)
    space = task.space()
    for p in space.parameters:
        whole = p.integer or all(isinstance(choice, int) for choice in p.choices or (0.5,))
        parser.add_argument(f"--{p.name}", type=int if whole else float)
    given = vars(parser.parse_known_args()[0])
    run = task.objective().trainer(space.full({p.name: given[p.name] for p in space.parameters}), "cpu", task.seed)
    report = Reporter()
    with contextlib.suppress(TimeUp):
        for found in epochs(run, task):
            if not math.isfinite(found.score):
                return
            report(epoch=found.epoch, score=float(run.best_score))


if __name__ == "__main__":
    main()
