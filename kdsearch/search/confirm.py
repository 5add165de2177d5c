"""Confirmation: the winner of a search is often luck, so the best few are trained again with several seeds.

Only validation figures are read here. Whoever calls measures the winner on the test days, once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import statistics
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdsearch.atomic import atomic_write
from kdsearch.contents import CONFIRMATION, CONFIRMING
from kdsearch.errors import UserError
from kdsearch.search.interrupt import StopRequest
from kdsearch.search.objective import Objective
from kdsearch.search.resources import Plan, make_plan
from kdsearch.search.session import cluster_errors, current_machine, ray_session
from kdsearch.search.settings import SearchSettings, disk_errors, output_lock
from kdsearch.search.workers import RETRIES, in_workers

if TYPE_CHECKING:
    from kdsearch.search.record import Ranked

__all__ = ["Confirmed", "SeedRun", "confirm"]


@dataclass(frozen=True)
class SeedRun:
    """One training at full length.

    Attributes:
        seed: of everything random in it.
        epoch: with the best validation score.
        score: best validation score; NaN where the training diverged or raised.
        validation: figures of that epoch.
        seconds: of all epochs.
        weights: of that epoch, by name.
        layout: shape of the network they are of, as plain values; None where every training's is the same.
        error: why there is no score.
    """

    seed: int
    epoch: int
    score: float
    validation: Mapping[str, float]
    seconds: float
    weights: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    layout: Mapping[str, Any] | None = None
    error: str | None = None


@dataclass(frozen=True)
class Confirmed:
    """A configuration with all its seeds; ``mean`` is NaN where one of them failed."""

    trial: int
    params: Mapping[str, Any]
    runs: tuple[SeedRun, ...]

    @property
    def mean(self) -> float:
        """Mean validation score over the seeds."""
        return statistics.fmean(run.score for run in self.runs)

    @property
    def std(self) -> float:
        """Deviation of the score over the seeds; 0 for a single one, NaN where one failed."""
        if math.isnan(self.mean):
            return math.nan  # which statistics.stdev does not take
        return statistics.stdev([run.score for run in self.runs]) if len(self.runs) > 1 else 0.0


def confirm(
    objective: Objective,
    candidates: Sequence[Ranked],
    seeds: Sequence[int],
    settings: SearchSettings,
    on_run: Callable[[int, SeedRun], None] | None = None,
    purpose: str = "",
) -> list[Confirmed]:
    """Train configurations at full length with every seed, in parallel, and rank them.

    What is done is kept in the output folder, so that a second call runs only what is missing.

    Args:
        objective: what builds the trainings.
        candidates: best configurations of the search.
        seeds: each configuration is trained with all of them.
        settings: of the search: epochs, resources, output folder.
        on_run: told the trial's number and the run as each one ends.
        purpose: what the trainings are, where they are not those of the search: tells their runs apart.

    Returns:
        The configurations, lowest mean validation score first; those with a failed seed last.

    Raises:
        UserError: no configuration reached a score, or the output folder cannot be used.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what is done is kept.
    """
    if not candidates:
        raise UserError(
            "there is nothing to confirm: no trial of the search reached a finite score; the column error of "
            "trials.parquet says why, and a lower learning rate often helps"
        )
    output = settings.output.resolve()
    with output_lock(output), StopRequest() as stop, disk_errors(output):
        store = _Store(output, settings, purpose)
        jobs = [(c, seed) for c in candidates for seed in seeds if store.read(c.params, seed) is None]
        if jobs:
            with cluster_errors(settings.address), ray_session(settings.address) as ready:
                ready()
                stop.install()
                plan = make_plan(
                    current_machine(),
                    len(jobs),
                    settings.concurrency,
                    settings.cpus_per_trial,
                    settings.gpus_per_trial,
                    settings.peak_bytes,
                )
                _run_jobs(objective, jobs, settings.epochs, plan, stop, store, on_run)
        found = [Confirmed(c.number, c.params, tuple(store.get(c.params, s) for s in seeds)) for c in candidates]
    return sorted(found, key=lambda c: (math.isnan(c.mean), c.mean))


def _run_jobs(
    objective: Objective,
    jobs: list[tuple[Ranked, int]],
    epochs: int,
    plan: Plan,
    stop: StopRequest,
    store: _Store,
    on_run: Callable[[int, SeedRun], None] | None,
) -> None:
    import ray

    from kdsearch.search.trainable import one_line

    shared, waiting = ray.put(objective), iter(jobs)
    remote = ray.remote(num_cpus=plan.cpus, num_gpus=plan.gpus, max_retries=RETRIES)(_train)

    def submit(job: tuple[Ranked, int]) -> Any:
        candidate, seed = job
        return remote.remote([shared], dict(candidate.params), seed, epochs, plan.cpus, plan.gpus, plan.memory_fraction)

    with contextlib.closing(in_workers(lambda: next(waiting, None), submit, plan.concurrency, stop)) as ended:
        for (candidate, seed), reference in ended:
            try:
                run = ray.get(reference)
                store.write(candidate.params, run)
            except ray.exceptions.RayError as error:
                run = SeedRun(seed, 0, math.nan, {}, 0.0, error=one_line(getattr(error, "cause", None) or error))
                store.died(candidate.params, run)
            if on_run is not None:
                on_run(candidate.number, run)


def _train(
    objective: list[Any],
    params: Mapping[str, Any],
    seed: int,
    epochs: int,
    cpus: float,
    gpus: float,
    memory_fraction: float | None,
) -> SeedRun:
    """One training, in a worker."""
    import ray

    from kdsearch.search.trainable import (
        die_with_device,
        is_out_of_memory,
        one_line,
        prepare_device,
        release_memory,
        reseed,
    )

    device = prepare_device(cpus, gpus, memory_fraction)
    release_memory()
    reseed(seed)
    seconds = 0.0
    try:
        run = ray.get(objective[0]).trainer(params, device, seed)
        for _ in range(epochs):
            report = run.epoch()
            seconds += float(report.seconds)
            if not math.isfinite(report.score):
                return SeedRun(seed, 0, math.nan, {}, seconds, error=f"diverged in epoch {report.epoch}")
    except Exception as problem:
        die_with_device(problem)
        if is_out_of_memory(problem):
            raise  # of the moment, not of the configuration: not kept, as with a worker that died
        return SeedRun(seed, 0, math.nan, {}, seconds, error=one_line(problem))
    if not math.isfinite(run.best_score):
        return SeedRun(seed, 0, math.nan, {}, seconds, error=f"no epoch of {epochs} counted")
    weights = {name: np.array(value.detach().cpu().numpy()) for name, value in run.best_weights.items()}
    validation = {str(name): float(value) for name, value in run.best_validation.items()}
    return SeedRun(seed, int(run.best_epoch), float(run.best_score), validation, seconds, weights, run.layout)


class _Store:
    """What is done, in ``confirm.json``, with the weights beside it.

    A run counts only for the very search it was made for: a key covers configuration, seed and settings.
    """

    def __init__(self, output: Path, settings: SearchSettings, purpose: str) -> None:
        self._file, self._folder = output / CONFIRMATION, output / CONFIRMING
        self._folder.mkdir(exist_ok=True)
        what = [dict(settings.identity), settings.epochs, *([purpose] if purpose else [])]
        self._settings = json.dumps(what, sort_keys=True, default=str)
        self._done: dict[str, Any] = {}
        self._died: dict[str, SeedRun] = {}
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            self._done = content if isinstance(content, dict) else {}
        except (OSError, ValueError):
            self._done = {}  # nothing there, or not ours: everything is run again

    def _key(self, params: Mapping[str, Any], seed: int) -> str:
        text = json.dumps([dict(params), seed, self._settings], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def read(self, params: Mapping[str, Any], seed: int) -> SeedRun | None:
        """A run that is done, None where it is not or its weights cannot be read."""
        key = self._key(params, seed)
        if key in self._died:
            return self._died[key]
        try:
            entry = {**self._done[key]}
            entry["score"] = math.nan if entry["score"] is None else entry["score"]
            entry.pop("params")
            with np.load(self._folder / f"{key}.npz", allow_pickle=False) as file:
                return SeedRun(**entry, weights=dict(file))
        except (KeyError, TypeError, OSError, ValueError, zipfile.BadZipFile):
            return None

    def get(self, params: Mapping[str, Any], seed: int) -> SeedRun:
        """A run that is done."""
        run = self.read(params, seed)
        if run is None:
            raise UserError(f"{self._file} cannot be read back: remove it and confirm again")
        return run

    def died(self, params: Mapping[str, Any], run: SeedRun) -> None:
        """A worker died too often or ran out of memory: not kept, another call tries again."""
        self._died[self._key(params, run.seed)] = run

    def write(self, params: Mapping[str, Any], run: SeedRun) -> None:
        """Keep a run: weights first, so that what the list names is there."""
        key = self._key(params, run.seed)
        with atomic_write(self._folder / f"{key}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, **dict(run.weights))  # type: ignore[arg-type]
        entry = {k: v for k, v in asdict(run).items() if k != "weights"}
        entry["score"] = None if math.isnan(run.score) else run.score
        self._done[key] = {"params": dict(params), **entry}
        with atomic_write(self._file) as listing:
            listing.write_text(json.dumps(self._done, indent=1), encoding="utf-8")
