"""Syne Tune as its documentation has it: ASHA with its defaults on the local backend, a process a trial."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.benchmarks.search.task import Task

if TYPE_CHECKING:
    from kdsearch.search.space import Space

__all__ = ["config_space", "main"]

# Seconds between two looks at the trials; its default of 5 would be longer than several epochs here.
_SLEEP_S = 0.5


def config_space(space: Space) -> dict[str, Any]:
    """The space in Syne Tune's words."""
    from syne_tune import config_space as cs

    found: dict[str, Any] = dict(space.fixed)
    for p in space.parameters:
        if p.choices:
            found[p.name] = cs.choice(list(p.choices))
            continue
        assert p.low is not None
        assert p.high is not None
        if p.integer:
            found[p.name] = (cs.lograndint if p.log else cs.randint)(int(p.low), int(p.high))
        else:
            found[p.name] = (cs.loguniform if p.log else cs.uniform)(p.low, p.high)
    return found


def main(file: str) -> None:
    """Search until the budget is spent."""
    task = Task.read(file)
    os.environ["SYNETUNE_FOLDER"] = task.output
    from syne_tune import StoppingCriterion, Tuner
    from syne_tune.backend import LocalBackend
    from syne_tune.optimizer.baselines import ASHA

    scheduler = ASHA(
        {**config_space(task.space()), "task": str(Path(file).resolve())},
        metric="score",
        time_attr="epoch",
        max_t=task.epochs,
        random_seed=task.seed,
    )
    tuner = Tuner(
        trial_backend=LocalBackend(entry_point=str(Path(__file__).with_name("syne_trial.py"))),
        scheduler=scheduler,
        stop_criterion=StoppingCriterion(max_wallclock_time=task.remaining),
        n_workers=task.workers,
        sleep_time=_SLEEP_S,
    )
    tuner.run()


if __name__ == "__main__":
    main(sys.argv[1])
