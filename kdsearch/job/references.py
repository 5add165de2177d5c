"""Networks trained on the task alone, from the cache or trained now: here, or beside each other in Ray's workers."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from kdsearch.data import Dataset
from kdsearch.distillation import losses
from kdsearch.job.plan import Plan
from kdsearch.job.say import Say, Speaker, Told, Trainings
from kdsearch.models.layout import Layout
from kdsearch.search import resources
from kdsearch.search.resources import Machine, local_machine, make_plan
from kdsearch.search.workers import Tell, beside_each_other
from kdsearch.training.checkpoint import Checkpoint, save_checkpoint
from kdsearch.training.reference import path_of, train_once
from kdsearch.training.report import EpochReport
from kdsearch.training.settings import FitSettings

__all__ = ["trained", "trained_all", "trained_teachers"]

_TASK = "none"
# Threads that a teacher's matrices pay for; a student's do not.
_TEACHER_CPUS = 2
# What a worker tells instead of an epoch while another process trains the same network.
_WAITS: list[Any] = ["waits"]


def trained(plan: Plan, name: str, settings: FitSettings, say: Say) -> Checkpoint:
    """A network of the plan from the cache, or trained now in this process with a line now and then.

    Args:
        plan: says on what, in which shape and where.
        name: ``"teacher"``, ``"base"`` or ``"student"``.
        settings: how.
        say: takes a line at a time.

    Raises:
        UserError: the cache cannot be written, or the training diverged.
    """
    label = _label(plan, name, settings)
    with Told(say, label, settings) as told, _threads(plan, name):
        checkpoint, cached = train_once(
            plan.dataset,
            name,
            plan.layout(name),
            losses.build(_TASK, error=settings.error),
            settings,
            plan.cache,
            plan.device,
            on_epoch=told,
            on_wait=lambda: say(_waiting(label)),
        )
    say(_result(label, checkpoint, settings, cached))
    return checkpoint


def trained_teachers(plan: Plan, say: Say) -> list[Checkpoint]:
    """The teachers of a plan: :func:`trained_all`."""
    return trained_all(plan, "teacher", plan.teachers, say)


def trained_all(plan: Plan, name: str, wanted: Sequence[FitSettings], say: Say) -> list[Checkpoint]:
    """Several networks of one shape, beside each other where there is room for two, else one after the other.

    A student takes what a trial takes; a teacher a device of its own, or two threads and its share of those left.
    What an interrupted training computed is kept and carried on from.

    Args:
        plan: says on what, in which shape and where.
        name: ``"teacher"``, ``"base"`` or ``"student"``.
        wanted: how each is trained.
        say: takes a line at a time.

    Returns:
        In the order wanted.

    Raises:
        UserError: as :func:`trained`, or the cluster was lost.
        KeyboardInterrupt: Ctrl-C or SIGTERM.
    """
    missing = [s for s in wanted if not path_of(plan.cache, plan.dataset, name, plan.layout(name), s).exists()]
    found: dict[FitSettings, Checkpoint] = {}
    if len(missing) > 1 and _room(plan, name, len(missing)):
        found = _beside_each_other(plan, name, missing, say)
    return [found[s] if s in found else trained(plan, name, s, say) for s in wanted]


@contextlib.contextmanager
def _threads(plan: Plan, name: str) -> Iterator[None]:
    """A student is trained on as many threads as a trial, also here: more only wait for each other."""
    before = torch.get_num_threads()
    if name == "student":
        torch.set_num_threads(max(1, int(plan.search.cpus_per_trial)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _label(plan: Plan, name: str, settings: FitSettings) -> str:
    if name != "teacher":
        return f"{name} without KD, seed {settings.seed}"
    return name if plan.n_teachers == 1 else f"teacher, seed {settings.seed}"


def _waiting(label: str) -> str:
    return f"{label}: another process is training it, waiting"


def _result(label: str, checkpoint: Checkpoint, settings: FitSettings, cached: bool) -> str:
    found = "from the cache" if cached else f"trained in {checkpoint.seconds:.0f} s"
    reached = checkpoint.validation["score"]
    line = f"{label}: {found}, epoch {checkpoint.epoch} of {settings.epochs}, validation {reached:.3f}"
    if checkpoint.diverged is None:
        return line
    return f"warning: {line}; it diverged in epoch {checkpoint.diverged}, what it was before is kept"


def _room(plan: Plan, name: str, count: int) -> bool:
    """Whether two can be trained at once; a cluster is taken to have it."""
    return plan.search.address is not None or _resources(plan, name, local_machine(), count).concurrency > 1


def _resources(plan: Plan, name: str, machine: Machine, count: int) -> resources.Plan:
    limits = plan.search
    if name == "student":
        return make_plan(
            machine, count, limits.concurrency, limits.cpus_per_trial, limits.gpus_per_trial, limits.peak_bytes
        )
    most = max(node.cpus for node in machine.nodes)
    share = most // math.ceil(count / len(machine.nodes))
    cpus = min(most, max(limits.cpus_per_trial, _TEACHER_CPUS, share))
    found = make_plan(machine, count, "auto", cpus, 1 if machine.gpus and limits.gpus_per_trial != 0 else 0)
    if limits.concurrency == "auto":
        return found
    return replace(found, concurrency=min(found.concurrency, limits.concurrency))


def _beside_each_other(plan: Plan, name: str, wanted: Sequence[FitSettings], say: Say) -> dict[FitSettings, Checkpoint]:
    """Train in workers, telling of each as :func:`trained` does."""
    line = say.line if isinstance(say, Speaker) else say  # the view shows how many are done
    labels = {settings: _label(plan, name, settings) for settings in wanted}
    tellers = {settings: Told(line, labels[settings], settings) for settings in wanted}

    def told(settings: FitSettings, message: list[Any]) -> None:
        if message == _WAITS:
            line(_waiting(labels[settings]))
            return
        epoch, score, best, seconds = message
        report = EpochReport(epoch, score, {}, {}, settings.rate(epoch), seconds, best_score=best)
        tellers[settings](report)

    layout = plan.layout(name)
    found: dict[FitSettings, Checkpoint] = {}
    work = functools.partial(_train, name, layout, plan.cache)
    plan_for = functools.partial(_resources, plan, name, count=len(wanted))
    running = beside_each_other(work, plan.dataset, wanted, plan_for, plan.search.address, told, labels.__getitem__)
    with Trainings(say, f"{name}s", len(wanted)) as trainings, contextlib.closing(running) as ended:
        for settings, (checkpoint, cached) in ended:
            path = path_of(plan.cache, plan.dataset, name, layout, settings)
            if not path.exists():  # it was trained on another machine
                save_checkpoint(path, checkpoint)
            found[settings] = checkpoint
            say(_result(labels[settings], checkpoint, settings, cached))
            trainings.one_ended()
    return found


def _train(
    name: str, layout: Layout, cache: Path, dataset: Dataset, settings: FitSettings, device: str, tell: Tell
) -> tuple[Checkpoint, bool]:
    """One training, in a worker."""
    from kdsearch.search.trainable import reseed

    reseed(settings.seed)

    def on_epoch(report: EpochReport) -> None:
        tell([report.epoch, report.score, report.best_score, report.seconds])

    loss = losses.build(_TASK, error=settings.error)
    return train_once(
        dataset, name, layout, loss, settings, cache, device, on_epoch=on_epoch, on_wait=lambda: tell(_WAITS)
    )
