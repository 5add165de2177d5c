"""All that comes before the first trial: data, baselines, teacher, bank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kdsearch.data import Dataset, Windows
from kdsearch.distillation import losses
from kdsearch.distillation.bank import TeacherBank
from kdsearch.distillation.ensemble import MeanForecaster
from kdsearch.distillation.objective import DistillationObjective
from kdsearch.errors import UserError
from kdsearch.job import bank as banks
from kdsearch.job import pruning as prunings
from kdsearch.job.plan import Plan
from kdsearch.job.references import trained, trained_teachers
from kdsearch.job.say import Say
from kdsearch.models.classical import CopyLast, DampedDeviation, RidgeAR
from kdsearch.pruning.objective import PruningObjective, planned
from kdsearch.search.space import Space
from kdsearch.training.checkpoint import Checkpoint
from kdsearch.training.evaluate import Forecaster, evaluate
from kdsearch.training.metrics import score

__all__ = [
    "Prepared",
    "build_bank",
    "build_objective",
    "mean_of",
    "prepare",
    "start_of",
]


@dataclass
class Prepared:
    """The plan with everything a trial reads, and the rows that stand beside the winner.

    Attributes:
        plan: what was asked for.
        teachers: trained; trials are told the mean of several.
        students: students without KD by seed.
        classical: copy-last and ridge AR(12), by name.
        objective: what builds the trials.
        start: the trained network that trials prune; None without pruning.
        seconds: where the time went, by stage.
        warnings: one line each.
    """

    plan: Plan
    teachers: list[Checkpoint]
    students: dict[int, Checkpoint]
    classical: dict[str, Forecaster]
    objective: DistillationObjective | PruningObjective
    start: Checkpoint | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def teacher(self) -> Checkpoint:
        """The first, which is pruned where a teacher is."""
        return self.teachers[0]


_SIMPLE = {"copy_last": "copy-last", "ridge_ar": "ridge AR(12)", "usual_day": "usual day + last deviation"}


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
    models: dict[str, Forecaster] = {
        "copy_last": CopyLast(),
        "ridge_ar": RidgeAR(train_days),
        "usual_day": DampedDeviation(train_days),
    }
    classical = {name: score(evaluate(model, dataset, "validation")) for name, model in models.items()}
    reached = ", ".join(f"{_SIMPLE[name]} {value:.3f}" for name, value in classical.items())
    say(f"validation MAE (mean of the three horizons, mph): {reached}")
    teachers = trained_teachers(plan, say)
    seconds["teacher"] = sum(teacher.seconds for teacher in teachers)
    own = teachers[0].validation["score"]
    if len(teachers) > 1:
        own = score(evaluate(mean_of(teachers, dataset, device), dataset, "validation", device))
        say(f"mean of the {len(teachers)} teachers: validation {own:.3f}")
    seed = plan.seeds[0]
    student = trained(plan, "student", replace(plan.student, seed=seed), say)
    seconds["student_none"] = student.seconds
    warnings = _weak_teacher(len(teachers), own, {**classical, "student_none": student.validation["score"]})
    for line in warnings:
        say(f"warning: {line}")
    start = start_of(plan, teachers[0], say)
    if plan.start == "base" and start is not None:
        seconds["base"] = start.seconds
    bank, live, seconds["bank"] = build_bank(plan, teachers, bank_memory, say)
    objective = build_objective(plan, bank, live, start)
    if plan.pruning is not None:
        schedule = planned(dataset, plan.pruning, plan.layout(plan.start))
        front = plan.cost is not None
        warnings += prunings.tell(schedule, plan.pruning.percent, plan.start, plan.search.grace, say, front)
    if device == "cuda" and plan.search.gpus_per_trial == "auto":
        plan.search = replace(plan.search, peak_bytes=_peak_bytes(objective, plan.space))
    return Prepared(plan, teachers, {seed: student}, models, objective, start, seconds, warnings)


def mean_of(teachers: Sequence[Checkpoint], dataset: Dataset, device: str) -> MeanForecaster:
    """Several teachers as one forecaster."""
    return MeanForecaster([teacher.network(dataset, device).eval() for teacher in teachers])


def start_of(plan: Plan, teacher: Checkpoint, say: Say) -> Checkpoint | None:
    """The network that trials prune, trained as the teacher is and cached like it; None without pruning."""
    if plan.pruning is None or plan.start == "teacher":
        return None if plan.pruning is None else teacher
    return trained(plan, plan.start, plan.teacher, say)


def build_objective(
    plan: Plan, bank: TeacherBank | None, live: Checkpoint | None, start: Checkpoint | None
) -> DistillationObjective | PruningObjective:
    """What builds the trials of a plan."""
    distillation = DistillationObjective(
        plan.dataset, plan.space.loss, plan.student, bank, live, plan.layout("student")
    )
    if plan.pruning is None or start is None:
        return distillation
    return PruningObjective(distillation, start, plan.pruning, plan.cost)


def _weak_teacher(count: int, own: float, others: dict[str, float]) -> list[str]:
    """The warning that what is distilled is worth little, if it is."""
    labels = {**_SIMPLE, "student_none": "its student without KD"}
    better = [f"{labels[name]} ({value:.3f})" for name, value in others.items() if not own < value]
    if not better:
        return []
    whose = "the teacher's" if count == 1 else "the mean teacher's"
    return [f"{whose} validation MAE of {own:.3f} is no better than {', '.join(better)}: there is little to distil"]


def build_bank(
    plan: Plan, teachers: Sequence[Checkpoint], memory: int | str, say: Say
) -> tuple[TeacherBank | None, Checkpoint | None, float]:
    """What the plan's loss reads of the teacher: the bank, or the teacher where the bank would not fit; seconds."""
    needs = losses.get(plan.space.loss).NEEDS
    steps = plan.student.rollout_steps
    return banks.build(plan.dataset, needs, teachers, plan.sampling, memory, plan.device, plan.cache, say, steps)


def _peak_bytes(objective: DistillationObjective | PruningObjective, space: Space) -> int:
    """Device memory of one trial, measured: one update of the largest batch and one validation.

    Raises:
        UserError: one trial alone does not fit.
    """
    import torch

    largest: dict[str, Any] = {p.name: max(p.choices) if p.choices else p.high for p in space.parameters}
    torch.cuda.reset_peak_memory_stats()
    try:
        trainer = objective.trainer(space.full(largest), "cuda", 0)
        trainer.rehearse()
    except torch.OutOfMemoryError:
        raise UserError(
            f"a trial of batch size {largest.get('batch_size', '?')}, the largest of the space, does not fit on the "
            "device even alone: fix a smaller one by --set batch_size=N, or give the teacher bank less --bank-memory"
        ) from None
    peak = torch.cuda.max_memory_allocated()
    del trainer
    torch.cuda.empty_cache()
    return peak
