"""Ray Tune as its documentation has it: a function trainable, OptunaSearch, ASHAScheduler with its defaults."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.benchmarks.search.task import RecordedObjective, Task

if TYPE_CHECKING:
    from kdsearch.search.space import Space

__all__ = ["main", "param_space"]


def param_space(space: Space) -> dict[str, Any]:
    """The space in Tune's words."""
    from ray import tune

    found: dict[str, Any] = dict(space.fixed)
    for p in space.parameters:
        if p.choices:
            found[p.name] = tune.choice(list(p.choices))
            continue
        assert p.low is not None
        assert p.high is not None
        if p.integer:
            make: Any = tune.lograndint if p.log else tune.randint
            found[p.name] = make(int(p.low), int(p.high) + 1)
        else:
            found[p.name] = (tune.loguniform if p.log else tune.uniform)(p.low, p.high)
    return found


def trainable(config: dict[str, Any], objective: RecordedObjective, task: Task) -> None:
    """A trial, from its first epoch to its last or to where the scheduler ends it."""
    from ray import tune

    run = objective.trainer(config, "cpu", task.seed)
    for _ in range(task.epochs):
        report = run.epoch()
        if not math.isfinite(report.score):
            return
        tune.report({"score": run.best_score})


def main(file: str) -> None:
    """Search until the budget is spent."""
    import os

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no calls home; changes nothing else
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    task = Task.read(file)
    ray.init(num_cpus=task.workers, include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(trainable, objective=task.objective(), task=task), {"cpu": 1}),
        param_space=param_space(task.space()),
        tune_config=tune.TuneConfig(
            metric="score",
            mode="min",
            search_alg=OptunaSearch(seed=task.seed),
            scheduler=ASHAScheduler(max_t=task.epochs),
            num_samples=-1,
            max_concurrent_trials=task.workers,
            time_budget_s=task.remaining,
        ),
        run_config=tune.RunConfig(name="benchmark", storage_path=str(Path(task.output).resolve()), verbose=0),
    )
    tuner.fit()


if __name__ == "__main__":
    main(sys.argv[1])
