"""What the arguments amount to: every check that needs no computation, before anything is trained or written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kdsearch.atomic import parent_of
from kdsearch.command import Confirm
from kdsearch.command import confirm as parse_confirm
from kdsearch.contents import JOURNAL
from kdsearch.data import Dataset, load
from kdsearch.distillation import losses
from kdsearch.distillation.sampled import Sampling
from kdsearch.errors import UserError
from kdsearch.job import bank as banks
from kdsearch.job import pruning as prunings
from kdsearch.job import warm as warm_starts
from kdsearch.job.settings import JobSettings
from kdsearch.models.layout import Layout
from kdsearch.pruning.settings import PruneSettings
from kdsearch.results import store
from kdsearch.search import space as spaces
from kdsearch.search.address import check_address
from kdsearch.search.resources import local_machine, make_plan
from kdsearch.search.settings import SearchSettings, check_settings
from kdsearch.search.space import Space
from kdsearch.training.network import layout_of
from kdsearch.training.recipe import PAPER, with_recipe
from kdsearch.training.reference import PROTOCOL, default_cache
from kdsearch.training.reference import fingerprint as network_fingerprint
from kdsearch.training.settings import FitSettings

__all__ = ["SHAPE", "Plan", "check", "check_cache", "check_output"]

# What a protocol tells of the shape of a network.
SHAPE = ("channels", "persistence", "affine", "calendar")


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
        n_teachers: whose mean trials are told; the others differ from ``teacher`` by their seeds.
        warm_notes: a line on each value of a warm start that had to change.
        networks: files of the cache that travel with an output behind a URI; those of the winner's control come late.
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
    n_teachers: int = 1
    warm_notes: tuple[str, ...] = ()
    networks: list[Path] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        """Of the confirmation: none that the search has seen, or luck in the search would be confirmed."""
        return [self.search.seed + 1 + k for k in range(self.confirm.seeds)]

    @property
    def teachers(self) -> list[FitSettings]:
        """How each teacher is trained."""
        return [replace(self.teacher, seed=self.teacher.seed + k) for k in range(self.n_teachers)]

    def layout(self, name: str) -> Layout:
        """Of ``"teacher"``, ``"base"`` or ``"student"``."""
        return layout_of(name, self.recipe)

    @property
    def protocol(self) -> dict[str, Any]:
        """All that must agree for two results to compete."""
        protocol = {
            "version": PROTOCOL,
            "student": {**_shape(self.layout(self.start)), **replace(self.student, seed=0).plain()},
            "teacher": {**_shape(self.layout("teacher")), **self.teacher.plain()},
            "seeds": self.seeds,
        }
        if self.recipe != PAPER:
            protocol["recipe"] = self.recipe
        if self.n_teachers > 1:
            protocol["teachers"] = self.n_teachers
        if self.pruning is not None:
            protocol["pruning"] = {"start": self.start, **prunings.shared(self.pruning)}
        return protocol | banks.protocol_of(self.sampling) | losses.protocol_of(self.space.loss)

    @property
    def front_protocol(self) -> dict[str, Any]:
        """The same for points of a front, whatever their percent."""
        protocol = self.protocol
        return {**protocol, "pruning": {**protocol.get("pruning", {}), "percent": None}}


def _shape(layout: Layout) -> dict[str, Any]:
    return {"channels": layout.blocks, **{name: value for name, value in layout.plain().items() if name in SHAPE}}


def check(settings: JobSettings, search: bool = True, dataset: Dataset | None = None) -> Plan:
    """Refuse whatever cannot work, cheapest checks first; nothing is computed or written.

    Args:
        settings: what was asked for.
        search: whether a search will run, so that its output folder is checked too.
        dataset: that of the settings, if it has been loaded.

    Raises:
        UserError: one sentence.
    """
    losses.get(settings.loss)
    warm_starts.check(settings)
    pruning = prunings.template(settings)
    if settings.space is not None:
        _space(settings.space, settings)
    suffix = "" if settings.prune is None else f"-prune{settings.prune:g}"
    front = settings.objective == "pareto"
    suffix = "-pareto" if front else suffix
    suffix += "" if settings.recipe == PAPER else f"-{settings.recipe}"
    output = (
        settings.output or Path("runs") / f"{Path(settings.dataset).stem}-{settings.loss.replace(':', '-')}{suffix}"
    )
    limits = SearchSettings(
        output=output,
        trials=settings.trials or 1,
        epochs=settings.epochs or 1,
        concurrency=settings.concurrency,
        gpus_per_trial=settings.gpus_per_trial,
        cpus_per_trial=settings.cpus_per_trial,
        time_budget_s=settings.time_budget,
        trial_timeout_s=settings.trial_timeout,
        scheduler=settings.scheduler,
        sampler=settings.sampler,
        seed=settings.seed,
        resume=settings.resume,
        address=settings.address,
        objectives=2 if front else 1,
    )
    check_settings(limits)
    machine = local_machine()
    if settings.address is not None:
        check_address(settings.address)
    else:
        make_plan(machine, limits.trials, limits.concurrency, limits.cpus_per_trial, limits.gpus_per_trial)
    if search:
        if (output / JOURNAL).exists() and not settings.resume:
            raise UserError(f"{output} already holds a search: carry on with --resume, or give another --output")
        check_output(output)
        check_cache(settings.cache_dir or default_cache())
    if dataset is None:
        dataset = load(settings.dataset, settings.data_dir)
    if search:
        store.check(dataset.name, settings.store)
    if losses.get(settings.loss).NEEDS.spatial_correlation and dataset.n_nodes < 2:
        raise UserError(
            f"--loss {settings.loss}: compares pairs of sensors, dataset {dataset.name!r} has a single one: choose a "
            "loss that compares none, such as tcd"
        )
    space = _space(settings.space or spaces.find(dataset.space), settings)
    if front and pruning is not None:
        pruning = prunings.with_top_percent(pruning, space)
    defaults = space.defaults
    student = FitSettings(epochs=settings.epochs or defaults.epochs, seed=settings.seed)
    student = with_recipe(student, settings.recipe, "student")
    run_length = settings.teacher_run_length or defaults.teacher_run_length
    teacher_epochs = settings.teacher_epochs or defaults.teacher_epochs or defaults.epochs
    teacher = with_recipe(FitSettings(epochs=teacher_epochs, seed=settings.seed), settings.recipe, "teacher")
    if run_length > 1 and teacher.rollout_steps > 1 and not teacher.rollout_start:
        raise UserError(
            f"--teacher-run-length {run_length}: of {teacher_epochs} epochs --recipe {settings.recipe} trains none one "
            "step ahead, and windows that are rolled out are drawn alone: leave it out, or train for 2 epochs or more"
        )
    teacher = replace(teacher, run_length=run_length)
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
        n_teachers=settings.teachers,
    )
    needs = losses.get(settings.loss).NEEDS
    banks.check_teachers(
        dataset, settings.loss, needs, plan.n_teachers, plan.sampling, settings.bank_memory, student.rollout_steps
    )
    identity: dict[str, Any] = {
        "dataset": dataset.name,
        "data": dataset.fingerprint,
        "teacher": network_fingerprint(dataset, plan.layout("teacher"), teacher),
        **banks.protocol_of(plan.sampling),
        **losses.protocol_of(settings.loss),
    }
    if plan.recipe != PAPER:
        identity["recipe"] = plan.recipe
    if plan.n_teachers > 1:
        identity["teachers"] = plan.n_teachers
    grace = defaults.grace
    if pruning is not None:
        identity |= {
            "start": network_fingerprint(dataset, plan.layout(plan.start), teacher),
            **prunings.shared(pruning),
        }
        if plan.cost is not None:
            identity["cost"] = plan.cost
        if search:
            grace = max(grace, prunings.grace(dataset, space, pruning, plan.layout(plan.start), student))
    warm, notes = warm_starts.choose(settings, space, output) if search else (None, ())
    plan.warm_notes = notes
    plan.search = replace(
        limits,
        warm=warm,
        trials=settings.trials or defaults.trials,
        epochs=student.epochs,
        grace=grace,
        reduction=defaults.reduction,
        identity=identity,
    )
    return plan


def _space(path: Path, settings: JobSettings) -> Space:
    start = prunings.start_of(settings) if settings.objective == "pareto" else None
    return spaces.load(path, settings.loss, settings.prune, start=start, recipe=settings.recipe).fix(settings.fixed)


def _sampling(settings: JobSettings, dataset: Dataset, resumed: Path | None) -> Sampling | None:
    """The pairs that the bank samples: those of the search that is resumed, whatever memory is free now."""
    if resumed is not None:
        from kdsearch.search.study import setup_of

        began = setup_of(resumed)
        if began:
            return banks.recorded_sampling(began)
    needs = losses.get(settings.loss).NEEDS
    return banks.choose_sampling(dataset, needs, settings.bank_memory, settings.seed, settings.teachers)


def check_cache(folder: Path) -> None:
    """Refuse a folder of trained networks that cannot be written: each that is trained or fetched takes a lock there.

    Raises:
        UserError: it cannot.
    """
    existing, writable = parent_of(folder)
    if not writable:
        reason = f"{existing} is read-only" if existing.is_dir() else f"{existing} is a file, not a folder"
        raise UserError(f"cannot write to the cache folder {folder} ({reason}); name another by --cache-dir")


def check_output(output: Path) -> None:
    """Refuse a folder that cannot be written, as far as can be told without writing.

    Raises:
        UserError: it cannot.
    """
    existing, writable = parent_of(output)
    if not existing.is_dir():
        raise UserError(f"--output {output}: {existing} is a file, not a folder")
    if not writable:
        raise UserError(f"--output {output} cannot be written: {existing} is read-only; give another --output")
