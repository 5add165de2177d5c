"""From a row to its training: protocol, hyperparameters and where they are from, and what it must wait for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.reproduce.rows import ROWS, Row
from experiments.reproduce.settings import Settings
from kdsearch import fingerprint
from kdsearch.data import Dataset, load
from kdsearch.distillation import losses
from kdsearch.distillation.losses import hyperparameters
from kdsearch.distillation.objective import TRAINING_PARAMS
from kdsearch.errors import UserError
from kdsearch.job.plan import Plan, check
from kdsearch.job.settings import JobSettings
from kdsearch.models.stgcn import CHANNELS
from kdsearch.pruning.objective import PARAMS
from kdsearch.results import paper, store
from kdsearch.results.result import Result
from kdsearch.search import space as spaces
from kdsearch.training.recipe import PAPER
from kdsearch.training.reference import fingerprint as network_fingerprint
from kdsearch.training.settings import FitSettings

__all__ = ["Params", "RowPlan", "Task", "plan_rows", "tasks_of", "teachers_of"]


@dataclass(frozen=True)
class Params:
    """Hyperparameters of a row and where they are from, in words."""

    values: Mapping[str, Any]
    source: str


@dataclass(frozen=True)
class RowPlan:
    """A row on a dataset.

    Attributes:
        row: which.
        plan: dataset, protocol, cache.
        params: hyperparameters.
        fit: how the row's own network is trained, but for the seed.
    """

    row: Row
    plan: Plan
    params: Params
    fit: FitSettings


@dataclass(frozen=True)
class Task:
    """One training, or one fit of a classical forecaster.

    Attributes:
        key: row and seed in words.
        row: what is trained.
        seed: of everything random in it.
        fit: how.
        params: hyperparameters of loss, training and pruning.
        path: where its result is kept; the name covers all that decides it.
        waits: keys of the tasks that must be done before.
    """

    key: str
    row: Row
    seed: int
    fit: FitSettings
    params: Mapping[str, Any]
    path: Path
    waits: tuple[str, ...] = ()


def plan_rows(rows: Iterable[Row], settings: Settings) -> dict[str, RowPlan]:
    """Check and plan rows by key; nothing is computed but the data are loaded.

    Raises:
        UserError: whatever its user can mend.
    """
    rows = list(rows)
    dataset = load(settings.dataset, settings.data_dir)
    _check_pairs(rows, dataset)
    found: dict[str, RowPlan] = {}
    for row in rows:
        job = JobSettings(
            dataset=settings.dataset,
            loss=row.loss,
            prune=row.prune,
            criterion=row.criterion if row.prune is not None else None,
            # A small graph may not allow the very percent: the table says what was reached.
            unreachable="nearest" if row.prune is not None else None,
            recipe=row.recipe,
            teachers=settings.teachers if row.told_by_mean else 1,
            data_dir=settings.data_dir,
            epochs=settings.epochs,
            seed=settings.seed,
            gpus_per_trial=settings.gpus_per_trial,
            cpus_per_trial=settings.cpus_per_trial,
            concurrency=settings.concurrency,
            address=settings.address,
            bank_memory=settings.bank_memory,
            teacher_epochs=settings.teacher_epochs,
            teacher_run_length=settings.teacher_run_length,
            cache_dir=settings.cache_dir,
        )
        plan = check(job, search=False, dataset=dataset)
        params = _params(row, plan, settings)
        found[row.key] = RowPlan(row, plan, params, _fit(row, plan, params, settings))
    return found


def _check_pairs(rows: Iterable[Row], dataset: Dataset) -> None:
    """Refuse rows that compare pairs of sensors on a dataset of one."""
    pairs = [row.key for row in rows if losses.get(row.loss).NEEDS.spatial_correlation]
    if pairs and dataset.n_nodes < 2:
        raise UserError(
            f"dataset {dataset.name!r} has a single sensor, and some rows compare pairs of them: leave these out by "
            f"--skip {','.join(pairs)}"
        )


def _fit(row: Row, plan: Plan, params: Params, settings: Settings) -> FitSettings:
    if row.kind == "student" and row.loss == "none":
        values = params.values
        return replace(plan.student, batch_size=int(values["batch_size"]), learning_rate=values["learning_rate"])
    if row.kind in ("teacher", "base"):
        return plan.teacher
    if row.kind == "astgcn":
        # Guo et al. 2019: Adam on the squared error of all steps at once. Rate and batch size are those of every row.
        epochs = settings.astgcn_epochs or plan.student.epochs
        return replace(plan.student, epochs=epochs, optimizer="adam", rollout_steps=plan.dataset.n_pred)
    return plan.student


def teachers_of(row: Row, plan: Plan, settings: Settings) -> list[FitSettings]:
    """How the teachers are trained that a row reads: none, one, or those that a mean is of."""
    if row.told_by_mean or row.kind == "mean":
        return [replace(plan.teacher, seed=plan.teacher.seed + k) for k in range(settings.teachers)]
    return [plan.teacher] if row.learns else []


def _params(row: Row, plan: Plan, settings: Settings) -> Params:
    """The best that the store of searches has, else the paper's, else a known point of the space, else defaults."""
    rival = _rival(row)
    if rival is None:
        return _told(row, plan, settings)
    told = _told(rival, plan, settings)
    kept = {name: value for name, value in told.values.items() if name in (*TRAINING_PARAMS, *PARAMS)}
    return Params(kept, told.source)


def _told(row: Row, plan: Plan, settings: Settings) -> Params:
    """What a row without a rival has."""
    fit = plan.teacher if row.kind in ("teacher", "base") else plan.student
    protocol = Params({"batch_size": fit.batch_size, "learning_rate": fit.learning_rate}, "protocol")
    if row.kind not in ("student", "pruned"):
        return protocol
    stored = [r for r in store.read(plan.dataset.name, settings.store) if _is_of(r, row, plan.dataset)]
    if stored:
        best = min(stored, key=lambda r: r.score)
        epochs = best.search.get("epochs", plan.student.epochs)
        length = "" if epochs == plan.student.epochs else f" ({epochs} epochs)"
        return Params(dict(best.params), f"store of searches{length}")
    return protocol if row.loss == "none" and row.prune is None else _unsearched(row, plan)


def _is_of(result: Result, row: Row, dataset: Dataset) -> bool:
    """Whether a search was for what the row is; a pruning by another criterion or of another network was not."""
    pruned = (
        {}
        if row.prune is None
        else {"criterion": row.criterion, "start": row.start, "granularity": "filter", "finetune_loss": "kd"}
    )
    return (
        (result.loss, result.prune, result.recipe) == (row.loss, row.prune, row.recipe)
        and result.fingerprint.get("data") == dataset.fingerprint
        and all(result.search.get(name, value) == value for name, value in pruned.items())
    )


def _rival(row: Row) -> Row | None:
    """The row whose batch size, rate and stages a row has too, so that between the two one thing alone differs.

    A Taylor row and that of KDIS differ in the importance; a student of the best recipe without KD and its L_STCD row
    in the KD. Under the paper's recipe each has what was published for it.
    """
    if row.criterion == "taylor":
        return replace(ROWS[f"kdis-{row.prune:g}"], recipe=row.recipe)
    if row.kind == "student" and row.loss == "none" and row.recipe != PAPER:
        return replace(ROWS["stcd"], recipe=row.recipe)
    return None


def _unsearched(row: Row, plan: Plan) -> Params:
    dataset, wanted = plan.dataset, (*TRAINING_PARAMS, *(h.name for h in hyperparameters(row.loss)))
    space = spaces.load(spaces.find(dataset.space), row.loss, row.prune, recipe=row.recipe)
    known = space.full(space.known[0]) if space.known else {}
    # Under another recipe the space has known points of its own; a pruned network is trained as the paper's is.
    ours = row.recipe != PAPER and row.prune is None
    published = None if ours else paper.hyperparameters(dataset.name, row.loss, row.prune)
    if published is not None:
        return Params({**known, **published}, f"paper, Table {2 if row.prune is None else 3}")
    if known:
        return Params(known, f"known point of {Path(space.source).name}")
    defaults = {h.name: h.default for h in hyperparameters(row.loss)}
    fit = plan.student
    values = {"batch_size": fit.batch_size, "learning_rate": fit.learning_rate, **defaults}
    return Params({name: values[name] for name in wanted}, "defaults of the loss")


def tasks_of(plans: Mapping[str, RowPlan], settings: Settings) -> dict[str, Task]:
    """All trainings of the rows, with the teachers and start networks they need, those first that others wait for."""
    tasks: dict[str, Task] = {}
    waits = {key: _networks(tasks, planned, settings) for key, planned in plans.items()}
    order = {"teacher": 0, "base": 0, "astgcn": 1, "classical": 2, "mean": 2, "student": 3, "pruned": 4}
    for planned in sorted(plans.values(), key=lambda p: order[p.row.kind]):
        row = planned.row
        if row.kind in ("teacher", "base"):
            continue
        for seed in settings.row_seeds if row.seeded else (settings.seed,):
            key = f"{row.key} seed {seed}" if row.seeded else row.key
            fit = replace(planned.fit, seed=seed)
            path = _path(planned, seed, settings)
            tasks[key] = Task(key, row, seed, fit, planned.params.values, path, waits[row.key])
    return tasks


def _networks(tasks: dict[str, Task], planned: RowPlan, settings: Settings) -> tuple[str, ...]:
    """Add the teachers and the base model that a row is or waits for; their keys."""
    row, plan = planned.row, planned.plan
    wanted = [(row.network("teacher"), fit) for fit in teachers_of(row, plan, settings)]
    name = row.kind if row.kind in ("teacher", "base") else row.start
    if name is not None:
        wanted.insert(0, (row.network(name), plan.teacher))
    keys = []
    for network, fit in wanted:
        key = network.key if fit.seed == settings.seed else f"{network.key} seed {fit.seed}"
        if key not in tasks:
            path = _path(RowPlan(network, plan, planned.params, fit), fit.seed, settings)
            tasks[key] = Task(key, network, fit.seed, fit, {}, path)
        keys.append(key)
    return tuple(dict.fromkeys(keys))


def _path(planned: RowPlan, seed: int, settings: Settings) -> Path:
    """Named by data, protocol, hyperparameters and seed: whatever could change the result changes the name."""
    row, plan = planned.row, planned.plan
    what: dict[str, Any] = {"data": plan.dataset.fingerprint, "kind": row.kind, "format": 2}
    if row.kind in CHANNELS and row.loss == "none":
        name = "student" if row.kind == "student" else row.kind
        fit = replace(planned.fit, seed=seed)
        what["network"] = network_fingerprint(plan.dataset, plan.layout(name), fit)
    elif row.kind == "classical":
        what["key"] = row.key
    elif row.kind == "mean":
        teachers = teachers_of(row, plan, settings)
        what["networks"] = [network_fingerprint(plan.dataset, plan.layout("teacher"), fit) for fit in teachers]
    else:
        protocol = {name: value for name, value in plan.protocol.items() if name != "seeds"}
        if not row.learns:  # no bank is read; a start network depends on how teachers are trained
            protocol = {n: v for n, v in protocol.items() if n != "teacher" or row.prune is not None}
        what |= {"protocol": protocol, "fit": replace(planned.fit, seed=seed).plain(), "loss": row.loss}
        what["params"] = dict(planned.params.values)
    folder = plan.cache / "reproduce"
    return folder / f"{plan.dataset.name}-{row.key}-seed{seed}-{fingerprint.digest(what)}.pt"
