"""Runs what is missing, in parallel through Ray, each task as soon as what it waits for is done."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from experiments.reproduce import kept
from experiments.reproduce.kept import Record
from experiments.reproduce.plans import RowPlan, Task, teachers_of
from experiments.reproduce.records import read_records
from experiments.reproduce.rows import Row
from experiments.reproduce.settings import Settings
from experiments.reproduce.work import Tools, holds_network, perform
from kdsearch.distillation import losses
from kdsearch.job import bank as banks
from kdsearch.job.plan import Plan
from kdsearch.search.interrupt import StopRequest
from kdsearch.search.resources import make_plan
from kdsearch.search.session import Session, current_machine
from kdsearch.search.workers import RETRIES, in_workers
from kdsearch.training.checkpoint import Checkpoint, load_checkpoint
from kdsearch.training.reference import path_of
from kdsearch.training.settings import FitSettings

__all__ = ["run"]

Say = Callable[[str], None]

_TELL_EVERY_S = 30.0
_PROGRESS = "kdsearch/reproduce/"


def run(
    plans: Mapping[str, RowPlan],
    tasks: Mapping[str, Task],
    settings: Settings,
    say: Say,
    networks: Collection[str] = (),
) -> dict[str, Record]:
    """The results of all tasks by key; those at hand are read, the rest is computed and kept as each one ends.

    A task that fails has a record with an error, which is not kept: the next call tries again. With ``settings.show``
    nothing is computed, and what is missing is left out.

    Args:
        plans: rows by key.
        tasks: their trainings by key.
        settings: of the command.
        say: takes a line.
        networks: keys of rows whose networks are wanted, not their figures alone: their teachers' too.

    Raises:
        UserError: the file of records cannot be read.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what is done is kept, and what was begun is carried on from.
    """
    done: dict[str, Record] = {}
    for key, task in tasks.items():
        record = kept.read(task.path)
        if record is not None:
            done[key] = record
    if not settings.show:
        _forget_lost(tasks, done, next(iter(plans.values())).plan, networks)
    cached = len(done)
    done |= _recorded(tasks, done, settings, networks)
    missing = {key: task for key, task in tasks.items() if key not in done}
    told = f", {len(done) - cached} in {settings.records}" if settings.records is not None else ""
    say(
        f"{len(tasks)} trainings: {cached} in the cache{told}, {len(missing)} {'missing' if settings.show else 'to do'}"
    )
    if missing and not settings.show:
        with StopRequest() as stop, Session(settings.address) as session:
            session.wait()
            stop.install()
            _Run(plans, missing, done, settings, say, stop).go()
    return {key: done[key] for key in tasks if key in done}  # not in the order in which they ended


def _forget_lost(tasks: Mapping[str, Task], done: dict[str, Record], plan: Plan, networks: Collection[str]) -> None:
    """Take out of ``done`` results whose networks are wanted and were removed from the cache: to be trained again."""
    wanted = _wanted(tasks, {key for key in tasks if key not in done}, networks)
    for key in wanted & set(done):
        if not holds_network(tasks[key], plan.dataset, plan.cache):
            tasks[key].path.unlink(missing_ok=True)
            del done[key]


def _wanted(tasks: Mapping[str, Task], missing: Collection[str], networks: Collection[str]) -> set[str]:
    """Keys of trainings whose networks are drawn, or that something drawn or missing waits for."""
    drawn = {key for key, task in tasks.items() if task.row.key in networks}
    return drawn | {waited for key in drawn | set(missing) for waited in tasks[key].waits}


def _recorded(
    tasks: Mapping[str, Task], done: Mapping[str, Record], settings: Settings, networks: Collection[str]
) -> dict[str, Record]:
    """Results from the file of records, but of networks that are drawn or that something missing waits for."""
    if settings.records is None:
        return {}
    known = read_records(settings.records)
    found = {key: known[task.path.stem] for key, task in tasks.items() if key not in done and task.path.stem in known}
    if settings.show:
        return found
    drawn = _wanted(tasks, (), networks)
    wanted = _wanted(tasks, {key for key in tasks if key not in done and (key not in found or key in drawn)}, networks)
    return {key: record for key, record in found.items() if key not in wanted}


class _Run:
    """One session's work."""

    def __init__(
        self,
        plans: Mapping[str, RowPlan],
        missing: dict[str, Task],
        done: dict[str, Record],
        settings: Settings,
        say: Say,
        stop: StopRequest,
    ) -> None:
        import ray

        self._plans, self._waiting, self._done = plans, missing, done
        self._settings, self._say, self._stop = settings, say, stop
        some = next(iter(plans.values())).plan
        self._dataset, self._cache = some.dataset, some.cache
        self._shared = ray.put(self._dataset)
        self._resources = make_plan(
            current_machine(),
            len(missing),
            settings.concurrency,
            settings.cpus_per_trial,
            settings.gpus_per_trial,
        )
        self._banks: dict[tuple[Any, ...], tuple[Any, Checkpoint | None]] = {}
        self._total, self._ended = len(missing), 0
        self._began, self._told = time.monotonic(), time.monotonic()

    def go(self) -> None:
        """Run until nothing is left that can be run."""
        import ray

        from kdsearch.search.trainable import one_line

        remote = ray.remote(num_cpus=self._resources.cpus, num_gpus=self._resources.gpus, max_retries=RETRIES)(
            _in_worker
        )

        def submit(task: Task) -> Any:
            return remote.remote(task, *self._arguments(task))

        with contextlib.closing(
            in_workers(self._next, submit, self._resources.concurrency, self._stop, self._tell)
        ) as ended:
            for task, reference in ended:
                try:
                    record = ray.get(reference)
                except ray.exceptions.RayError as error:
                    record = Record(task.seed, error=one_line(getattr(error, "cause", None) or error))
                self._finish(task, record)

    def _next(self) -> Task | None:
        """A task that waits for nothing; one that waits for what failed fails too."""
        for key, task in list(self._waiting.items()):
            failed = next((k for k in task.waits if k in self._done and self._done[k].error), None)
            if failed is not None:
                del self._waiting[key]
                self._finish(task, Record(task.seed, error=f"{failed} failed"))
            elif all(k in self._done for k in task.waits):
                del self._waiting[key]
                return task
        return None

    def _arguments(self, task: Task) -> tuple[Any, ...]:
        """What goes to the worker beside the task: shared objects as references within lists, resolved there."""
        plan = self._plan_of(task)
        row = task.row
        bank, live = self._bank(task, plan) if row.learns else (None, None)
        start = None if row.start is None else self._checkpoint(row.start, plan, plan.teacher)
        mean = self._teachers(task, plan) if row.kind == "mean" else ()
        resources = self._resources
        return (
            [self._shared, bank],
            (live, start, plan.pruning if row.prune is not None else None, mean),
            (self._cache, resources.cpus, resources.gpus, resources.memory_fraction),
        )

    def _plan_of(self, task: Task) -> Plan:
        """The row's own, or for a network that rows only need that of one of them: they share data and cache."""
        told = self._plans.get(task.row.key)
        return (told or next(iter(self._plans.values()))).plan

    def _checkpoint(self, name: str, plan: Plan, fit: FitSettings) -> Checkpoint:
        return load_checkpoint(path_of(self._cache, plan.dataset, name, plan.layout(name), fit))

    def _teachers(self, task: Task, plan: Plan) -> list[Checkpoint]:
        return [self._checkpoint("teacher", plan, fit) for fit in teachers_of(task.row, plan, self._settings)]

    def _bank(self, task: Task, plan: Plan) -> tuple[Any, Checkpoint | None]:
        """The bank of a loss, in the object store for as long as a task needs it; or the teacher, if none fits."""
        import ray

        key = _bank_key(task.row)
        if key not in self._banks:
            wanted = {_bank_key(t.row) for t in self._waiting.values()}
            self._banks = {k: v for k, v in self._banks.items() if k in wanted}
            needs = losses.get(task.row.loss).NEEDS
            teachers = self._teachers(task, plan)
            steps = plan.student.rollout_steps
            bank, live, _ = banks.build(
                plan.dataset,
                needs,
                teachers,
                plan.sampling,
                self._settings.bank_memory,
                plan.device,
                self._cache,
                lambda line: None,
                steps,
            )
            self._banks[key] = (None if bank is None else ray.put(bank), live)
        return self._banks[key]

    def _finish(self, task: Task, record: Record) -> None:
        self._done[task.key] = record
        self._ended += 1
        how = record.error or f"validation {record.validation['score']:.3f} in {record.seconds:.0f} s"
        self._say(f"{self._ended} of {self._total}: {task.key}: {how}")
        self._told = time.monotonic()

    def _tell(self, running: Collection[Task]) -> None:
        """Now and then, how far the running tasks have come, and about how long the rest will take."""
        from ray.experimental.internal_kv import _internal_kv_get

        if time.monotonic() - self._told < _TELL_EVERY_S:
            return
        self._told = time.monotonic()
        parts = []
        for task in running:
            told = _internal_kv_get(f"{_PROGRESS}{task.key}")
            parts.append(f"{task.key}: {told.decode() if told else 'begun'}")
        left = ""
        if self._ended:
            each = (time.monotonic() - self._began) / self._ended
            left = f"; about {math.ceil(each * (self._total - self._ended) / 60)} min left"
        self._say(f"{self._ended} of {self._total} done, now {', '.join(parts)}{left}")


def _bank_key(row: Row) -> tuple[Any, ...]:
    return row.loss, row.recipe, row.told_by_mean


def _in_worker(task: Task, shared: list[Any], given: tuple[Any, ...], where: tuple[Any, ...]) -> Record:
    import ray
    from ray.experimental.internal_kv import _internal_kv_put

    from kdsearch.search.trainable import one_line, prepare_device, release_memory, reseed

    cache, cpus, gpus, memory_fraction = where
    device = prepare_device(cpus, gpus, memory_fraction)
    release_memory()
    reseed(task.seed)
    dataset, bank = (None if reference is None else ray.get(reference) for reference in shared)
    live, start, pruning, mean = given
    try:
        return perform(
            task,
            Tools(dataset, cache, device, bank, live, start, pruning, mean),
            lambda line: _internal_kv_put(f"{_PROGRESS}{task.key}", line.encode()),
        )
    except Exception as problem:  # one row less, not the end of all others
        return Record(task.seed, error=one_line(problem))
