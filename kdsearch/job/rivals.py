"""What a winner must beat, trained as it was over the same seeds.

A distilled student: the same student without KD, of its batch size and rate, so that what differs is the loss alone.
A pruned network: the rows of Tables 7 and 8 beside it.
Table 7 (97% of the teacher) has the predetermined student, which learns from the same teacher by the same loss and
was small from the start. Table 8 (of the base model) has traditional pruning: the same stages, with importance and
training by the task loss alone (Molchanov et al. 2019).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdsearch.distillation.losses import hyperparameters
from kdsearch.distillation.objective import TRAINING_PARAMS, DistillationObjective
from kdsearch.job.plan import Plan
from kdsearch.job.prepare import Prepared
from kdsearch.job.references import trained_all
from kdsearch.job.say import Say, Trainings
from kdsearch.pruning.objective import PARAMS, PruningObjective
from kdsearch.results import store
from kdsearch.search import space as spaces
from kdsearch.search.confirm import Confirmed, SeedRun, confirm
from kdsearch.search.record import Ranked
from kdsearch.training.checkpoint import Checkpoint
from kdsearch.training.reference import path_of

__all__ = ["Rival", "train_control", "train_rival", "train_students"]

_TASK = "none"
_TITLES = {"student_kd": "predetermined student", "traditional": "traditional pruning"}


@dataclass(frozen=True)
class Rival:
    """A trained rival.

    Attributes:
        name: its row, ``"student_kd"`` or ``"traditional"``.
        source: where its hyperparameters are from, in words.
        confirmed: its trainings.
        start: name of the architecture that its trainings begin with, where a run does not say.
    """

    name: str
    source: str
    confirmed: Confirmed
    start: str


def train_control(prepared: Prepared, winner: Confirmed, say: Say) -> list[Checkpoint]:
    """Students without KD of the winner's batch size and rate, one a seed, from the cache or trained now.

    There are none where the network was pruned, where there was no KD, and where this batch size and rate are those of
    :func:`train_students`.
    """
    plan = prepared.plan
    alike = replace(plan.student, **{name: winner.params[name] for name in TRAINING_PARAMS})
    if plan.pruning is not None or plan.space.loss == _TASK or alike == plan.student:
        return []
    say(f"control: the winner's student without KD, batch size {alike.batch_size}, rate {alike.learning_rate:.3g}")
    wanted = [replace(alike, seed=seed) for seed in plan.seeds]
    plan.networks += [path_of(plan.cache, plan.dataset, "student", plan.layout("student"), one) for one in wanted]
    found = trained_all(plan, "student", wanted, say)
    prepared.seconds["student_control"] = sum(c.seconds for c in found)
    return found


def train_students(prepared: Prepared, say: Say) -> None:
    """The students without KD of the usual batch size and rate that are not trained yet, one a seed."""
    plan, students = prepared.plan, prepared.students
    missing = [seed for seed in plan.seeds if seed not in students]
    wanted = [replace(plan.student, seed=seed) for seed in missing]
    students.update(zip(missing, trained_all(plan, "student", wanted, say), strict=True))
    prepared.seconds["student_none"] = sum(c.seconds for c in students.values())


def train_rival(prepared: Prepared, winner: Confirmed, say: Say, store_dir: Any) -> Rival | None:
    """Train what stands beside a pruned winner; None where there is none: nothing was pruned, or no teacher followed.

    What is done is kept in the search's folder, as the confirmation is.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; what is done is kept.
    """
    plan, objective = prepared.plan, prepared.objective
    if not isinstance(objective, PruningObjective) or plan.space.loss == _TASK:
        return None
    chosen: DistillationObjective | PruningObjective
    if plan.start == "teacher":
        name, chosen = "student_kd", objective.distillation
        params, source = _of_student(plan, winner, store_dir)
    else:
        task = replace(objective.distillation, loss=_TASK, bank=None, teacher=None)
        pruning = replace(objective.pruning, criterion="taylor")
        name, chosen = "traditional", PruningObjective(task, objective.start, pruning)
        params, source = _without_loss(winner.params), "those of the winner"
    title = _TITLES[name]
    say(f"{title}: {len(plan.seeds)} trainings, hyperparameters: {source}")

    candidate = Ranked(-1, params, winner.mean, "COMPLETE", 0, {})
    with Trainings(say, title, len(plan.seeds)) as trainings:

        def tell(_: int, run: SeedRun) -> None:
            how = f"score {run.score:.4g} (epoch {run.epoch})" if run.error is None else run.error
            say(f"{title}: seed {run.seed}: {how}")
            trainings.one_ended()

        (confirmed,) = confirm(chosen, [candidate], plan.seeds, plan.search, tell, purpose=name)
    if math.isnan(confirmed.mean):
        say(f"warning: {title}: a seed failed, so it is left out of the tables")
        return None
    return Rival(name, source, confirmed, "student" if name == "student_kd" else plan.start)


def _of_student(plan: Plan, winner: Confirmed, store_dir: Any) -> tuple[dict[str, Any], str]:
    """Hyperparameters of the predetermined student: the best that is stored for it on this data, else known ones."""
    loss = plan.space.loss
    names = {*TRAINING_PARAMS, *(h.name for h in hyperparameters(loss))}
    stored = [
        r
        for r in store.read(plan.dataset.name, store_dir)
        if r.loss == loss
        and r.prune is None
        and r.fingerprint.get("data") == plan.dataset.fingerprint
        and r.recipe == plan.recipe
    ]
    if stored:
        best = min(stored, key=lambda r: r.score)
        return dict(best.params), f"the best that the store holds of {loss} without pruning"
    fixed = {n: v for n, v in plan.space.fixed.items() if n in names}
    space = spaces.load(plan.space.source, loss, recipe=plan.recipe).fix(fixed)
    if space.known:
        return space.full(space.known[0]), f"the first known point of [{loss}] in {Path(plan.space.source).name}"
    return {n: winner.params[n] for n in names}, "those of the winner"


def _without_loss(params: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters of training and pruning, without those of the loss."""
    return {name: value for name, value in params.items() if name in (*TRAINING_PARAMS, *PARAMS)}
