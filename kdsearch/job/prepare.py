"""All that comes before the first trial: checks, data, baselines, teacher, bank."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kdsearch.command import Confirm
from kdsearch.command import confirm as parse_confirm
from kdsearch.data import Dataset, Windows, load
from kdsearch.distillation import losses
from kdsearch.distillation.bank import TeacherBank
from kdsearch.distillation.objective import DistillationObjective
from kdsearch.distillation.sampled import Sampling
from kdsearch.errors import UserError
from kdsearch.job import bank as banks
from kdsearch.job import pruning as prunings
from kdsearch.job.settings import JobSettings
from kdsearch.models.classical import CopyLast, RidgeAR
from kdsearch.models.stgcn import CHANNELS, TEACHER, Channels
from kdsearch.pruning.objective import PruningObjective
from kdsearch.pruning.settings import PruneSettings
from kdsearch.search import space as spaces
from kdsearch.search.resources import local_machine, make_plan
from kdsearch.search.settings import SearchSettings, check_settings
from kdsearch.search.space import Space
from kdsearch.training.checkpoint import Checkpoint
from kdsearch.training.evaluate import Forecaster, evaluate
from kdsearch.training.fit import EpochReport
from kdsearch.training.metrics import score
from kdsearch.training.recipe import PAPER, with_recipe
from kdsearch.training.reference import PROTOCOL, default_cache, train_once
from kdsearch.training.reference import fingerprint as network_fingerprint
from kdsearch.training.settings import FitSettings

__all__ = [
    "Plan",
    "Prepared",
    "Say",
    "Told",
    "build_bank",
    "build_objective",
    "check",
    "prepare",
    "start_of",
    "trained",
]

Say = Callable[[str], None]


@dataclass
class Plan:
    """What the arguments amount to, checked, before anything is computed.

    Attributes:
        dataset, space, search, confirm: what is searched, how far, and how the best are confirmed.
        student, teacher: how they are trained.
        cache: folder of trained networks.
        device: ``"cpu"`` or ``"cuda"``.
        pruning: what all trials share of it; None for fresh students.
        start: what a trial begins with: ``"student"``, fresh, or the trained ``"teacher"`` or ``"base"`` to be pruned.
        cost: what a front weighs against the score; None for a search of the score alone.
        sampling: which node pairs the bank holds; None for all.
        recipe: how networks are trained.
    """

    dataset: Dataset
    space: Space
    search: SearchSettings
    confirm: Confirm
    student: FitSettings
    teacher: FitSettings
    cache: Path
    device: str
    pruning: PruneSettings | None = None
    start: str = "student"
    cost: str | None = None
    sampling: Sampling | None = None
    recipe: str = PAPER

    @property
    def seeds(self) -> list[int]:
        """Of the confirmation: none that the search has seen, or luck in the search would be confirmed."""
        return [self.search.seed + 1 + k for k in range(self.confirm.seeds)]

    @property
    def protocol(self) -> dict[str, Any]:
        """All that must agree for two results to compete."""
        protocol = {
            "version": PROTOCOL,
            "student": {"channels": CHANNELS[self.start], **replace(self.student, seed=0).plain()},
            "teacher": {"channels": TEACHER, **self.teacher.plain()},
            "seeds": self.seeds,
        }
        if self.recipe != PAPER:
            protocol["recipe"] = self.recipe
        if self.pruning is not None:
            protocol["pruning"] = {"start": self.start, **prunings.shared(self.pruning)}
        return protocol | banks.protocol_of(self.sampling)

    @property
    def front_protocol(self) -> dict[str, Any]:
        """The same for points of a front, whatever their percent."""
        protocol = self.protocol
        return {**protocol, "pruning": {**protocol.get("pruning", {}), "percent": None}}


@dataclass
class Prepared:
    """The plan with everything a trial reads, and the rows that stand beside the winner.

    Attributes:
        plan: what was asked for.
        teacher: trained.
        students: students without KD by seed.
        classical: copy-last and ridge AR(12), by name.
        objective: what builds the trials.
        start: the trained network that trials prune; None without pruning.
        seconds: where the time went, by stage.
        warnings: one line each.
    """

    plan: Plan
    teacher: Checkpoint
    students: dict[int, Checkpoint]
    classical: dict[str, Forecaster]
    objective: DistillationObjective | PruningObjective
    start: Checkpoint | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def check(settings: JobSettings, search: bool = True) -> Plan:
    """Refuse whatever cannot work, cheapest checks first; nothing is computed or written.

    Args:
        settings: what was asked for.
        search: whether a search will run, so that its output folder is checked too.

    Raises:
        UserError: one sentence.
    """
    losses.get(settings.loss)
    pruning = prunings.template(settings)
    if settings.space is not None:
        _space(settings.space, settings)
    suffix = "" if settings.prune is None else f"-prune{settings.prune:g}"
    front = settings.objective == "pareto"
    suffix = "-pareto" if front else suffix
    suffix += "" if settings.recipe == PAPER else f"-{settings.recipe}"
    output = settings.output or Path("runs") / f"{Path(settings.dataset).stem}-{settings.loss}{suffix}"
    limits = SearchSettings(
        output=output,
        trials=settings.trials or 1,
        epochs=settings.epochs or 1,
        concurrency=settings.concurrency,
        gpus_per_trial=settings.gpus_per_trial,
        cpus_per_trial=settings.cpus_per_trial,
        time_budget_s=settings.time_budget,
        scheduler=settings.scheduler,
        sampler=settings.sampler,
        seed=settings.seed,
        resume=settings.resume,
        address=settings.address,
        objectives=2 if front else 1,
    )
    machine = local_machine()
    if settings.address is None:
        make_plan(machine, limits.trials, limits.concurrency, limits.cpus_per_trial, limits.gpus_per_trial)
    if search:
        _check_output(output, settings.resume)
    dataset = load(settings.dataset, settings.data_dir)
    space = _space(settings.space or spaces.find(dataset.space), settings)
    check_settings(limits)  # imports Ray and Optuna: after what can be refused without them
    if front and pruning is not None:
        pruning = prunings.with_top_percent(pruning, space)
    defaults = space.defaults
    student = with_recipe(FitSettings(epochs=settings.epochs or defaults.epochs, seed=settings.seed), settings.recipe)
    run_length = settings.teacher_run_length or defaults.teacher_run_length
    if run_length > 1 and student.rollout_steps > 1:
        raise UserError(
            f"--teacher-run-length {run_length}: --recipe {settings.recipe} trains through the roll-out of each "
            "window, so windows are drawn alone: leave it out"
        )
    teacher = with_recipe(
        FitSettings(
            epochs=settings.teacher_epochs or defaults.teacher_epochs or defaults.epochs,
            run_length=run_length,
            seed=settings.seed,
        ),
        settings.recipe,
    )
    plan = Plan(
        dataset=dataset,
        space=space,
        search=limits,
        confirm=settings.confirm or parse_confirm(defaults.confirm),
        student=student,
        teacher=teacher,
        cache=settings.cache_dir or default_cache(),
        device="cuda" if machine.gpus and settings.gpus_per_trial != 0 else "cpu",
        pruning=pruning,
        start=prunings.start_of(settings),
        cost=(settings.cost or "parameters") if front else None,
        sampling=_sampling(settings, dataset, output if search and settings.resume else None),
        recipe=settings.recipe,
    )
    identity = {
        "dataset": dataset.name,
        "data": dataset.fingerprint,
        "teacher": network_fingerprint(dataset, TEACHER, teacher),
        **banks.protocol_of(plan.sampling),
    }
    if plan.recipe != PAPER:
        identity["recipe"] = plan.recipe
    grace = defaults.grace
    if pruning is not None:
        identity |= {"start": network_fingerprint(dataset, CHANNELS[plan.start], teacher), **prunings.shared(pruning)}
        if plan.cost is not None:
            identity["cost"] = plan.cost
        if search:
            grace = max(grace, prunings.grace(dataset, space, pruning, plan.start, student))
    plan.search = replace(
        limits,
        trials=settings.trials or defaults.trials,
        epochs=student.epochs,
        grace=grace,
        reduction=defaults.reduction,
        identity=identity,
    )
    return plan


def prepare(plan: Plan, bank_memory: int | str, say: Say) -> Prepared:
    """Train or fetch what every trial looks at, and build the bank.

    Args:
        plan: from :func:`check`.
        bank_memory: bytes, or ``"auto"`` for a quarter of the memory that is free.
        say: takes one line at a time.
    """
    dataset, device = plan.dataset, plan.device
    seconds: dict[str, float] = {}
    train_days = Windows(dataset, "train")
    models: dict[str, Forecaster] = {"copy_last": CopyLast(), "ridge_ar": RidgeAR(train_days)}
    classical = {name: score(evaluate(model, dataset, "validation")) for name, model in models.items()}
    say(
        f"validation MAE (mean of the three horizons, mph): copy-last {classical['copy_last']:.3f}, "
        f"ridge AR(12) {classical['ridge_ar']:.3f}"
    )
    teacher = trained(plan, "teacher", plan.teacher, say)
    seconds["teacher"] = teacher.seconds
    seed = plan.seeds[0]
    student = trained(plan, "student", replace(plan.student, seed=seed), say)
    seconds["student_none"] = student.seconds
    warnings = _weak_teacher(teacher, {**classical, "student_none": student.validation["score"]})
    for line in warnings:
        say(f"warning: {line}")
    start = start_of(plan, teacher, say)
    if plan.start == "base" and start is not None:
        seconds["base"] = start.seconds
    bank, live, seconds["bank"] = build_bank(plan, teacher, bank_memory, say)
    objective = build_objective(plan, bank, live, start)
    if plan.pruning is not None:
        warnings += prunings.tell(dataset, plan.pruning, plan.start, plan.search.grace, say, plan.cost is not None)
    if device == "cuda" and plan.search.gpus_per_trial == "auto":
        plan.search = replace(plan.search, peak_bytes=_peak_bytes(objective, plan.space))
    return Prepared(plan, teacher, {seed: student}, models, objective, start, seconds, warnings)


def start_of(plan: Plan, teacher: Checkpoint, say: Say) -> Checkpoint | None:
    """The network that trials prune, trained as the teacher is and cached like it; None without pruning."""
    if plan.pruning is None or plan.start == "teacher":
        return None if plan.pruning is None else teacher
    return trained(plan, plan.start, plan.teacher, say)


def build_objective(
    plan: Plan, bank: TeacherBank | None, live: Checkpoint | None, start: Checkpoint | None
) -> DistillationObjective | PruningObjective:
    """What builds the trials of a plan."""
    distillation = DistillationObjective(plan.dataset, plan.space.loss, plan.student, bank, live)
    if plan.pruning is None or start is None:
        return distillation
    return PruningObjective(distillation, start, plan.pruning, plan.cost)


def trained(plan: Plan, name: str, settings: FitSettings, say: Say) -> Checkpoint:
    """A reference network from the cache, or trained now with a line now and then."""
    channels: Channels = CHANNELS[name]
    label = name if name == "teacher" else f"{name} without KD, seed {settings.seed}"
    told = Told(say, label, settings.epochs)
    checkpoint, cached = train_once(
        plan.dataset,
        name,
        channels,
        losses.build("none", error=settings.error),
        settings,
        plan.cache,
        plan.device,
        on_epoch=told,
        on_wait=lambda: say(f"{label}: another process is training it, waiting"),
    )
    found = "from the cache" if cached else f"trained in {checkpoint.seconds:.0f} s"
    reached = checkpoint.validation["score"]
    say(f"{label}: {found}, epoch {checkpoint.epoch} of {settings.epochs}, validation {reached:.3f}")
    return checkpoint


class Told:
    """Says how a training comes on, at most twice a minute."""

    def __init__(self, say: Say, label: str, epochs: int) -> None:
        self._say, self._label, self._epochs = say, label, epochs
        self._since, self._best = 0.0, math.inf

    def __call__(self, report: EpochReport) -> None:
        """Take note of an epoch."""
        self._since += report.seconds
        self._best = min(self._best, report.score)
        if self._since >= 30.0 or report.epoch == 1:
            left = report.seconds * (self._epochs - report.epoch)
            self._say(
                f"{self._label}: epoch {report.epoch} of {self._epochs}, validation {report.score:.3f}, "
                f"best {self._best:.3f}, about {_span(left)} left"
            )
            self._since = 0.0


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _space(path: Path, settings: JobSettings) -> Space:
    start = prunings.start_of(settings) if settings.objective == "pareto" else None
    return spaces.load(path, settings.loss, settings.prune, start=start).fix(settings.fixed)


def _sampling(settings: JobSettings, dataset: Dataset, resumed: Path | None) -> Sampling | None:
    """The pairs that the bank samples: those of the search that is resumed, whatever memory is free now."""
    if resumed is not None:
        from kdsearch.search.study import setup_of

        began = setup_of(resumed)
        if began:
            return banks.recorded_sampling(began)
    return banks.choose_sampling(dataset, losses.get(settings.loss).NEEDS, settings.bank_memory, settings.seed)


def _check_output(output: Path, resume: bool) -> None:
    """Whether a search may be written here, as far as can be told without writing."""
    if (output / "study.journal").exists() and not resume:
        raise UserError(f"{output} already holds a search: carry on with --resume, or give another --output")
    existing = output
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise UserError(f"--output {output}: {existing} is a file, not a folder")
    if not os.access(existing, os.W_OK | os.X_OK) or _read_only(existing):
        raise UserError(f"--output {output} cannot be written: {existing} is read-only; give another --output")


def _read_only(folder: Path) -> bool:
    """A read-only file system, which the superuser's permissions do not show."""
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except (AttributeError, OSError):
        return False


def _weak_teacher(teacher: Checkpoint, others: dict[str, float]) -> list[str]:
    """The warning that a teacher is worth little, if it is."""
    own = teacher.validation["score"]
    labels = {"copy_last": "copy-last", "ridge_ar": "ridge AR(12)", "student_none": "its student without KD"}
    better = [f"{labels[name]} ({value:.3f})" for name, value in others.items() if not own < value]
    if not better:
        return []
    return [
        f"the teacher's validation MAE of {own:.3f} is no better than {', '.join(better)}: there is little to distil"
    ]


def build_bank(
    plan: Plan, teacher: Checkpoint, memory: int | str, say: Say
) -> tuple[TeacherBank | None, Checkpoint | None, float]:
    """What the plan's loss reads of the teacher: the bank, or the teacher where the bank would not fit; seconds."""
    needs = losses.get(plan.space.loss).NEEDS
    steps = plan.student.rollout_steps
    return banks.build(plan.dataset, needs, teacher, plan.sampling, memory, plan.device, say, steps)


def _peak_bytes(objective: DistillationObjective | PruningObjective, space: Space) -> int:
    """Device memory of one trial, measured: one update of the largest batch and one validation."""
    import torch

    largest: dict[str, Any] = {p.name: max(p.choices) if p.choices else p.high for p in space.parameters}
    torch.cuda.reset_peak_memory_stats()
    trainer = objective.trainer(space.full(largest), "cuda", 0)
    trainer.rehearse()
    peak = torch.cuda.max_memory_allocated()
    del trainer
    torch.cuda.empty_cache()
    return peak
