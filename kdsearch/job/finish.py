"""All that comes after the last trial: confirmation, the test days, best.json, the store."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from kdsearch import fingerprint
from kdsearch.contents import BEST, WINNER
from kdsearch.data import Dataset
from kdsearch.data.site import Site
from kdsearch.errors import UserError
from kdsearch.job import pruning as prunings
from kdsearch.job.plan import Plan
from kdsearch.job.prepare import Prepared, mean_of
from kdsearch.job.rivals import Rival, train_control, train_rival, train_students
from kdsearch.job.say import Say, Trainings
from kdsearch.models.layout import Layout
from kdsearch.pruning.objective import planned, settings_of
from kdsearch.results import store
from kdsearch.results.best import write_best
from kdsearch.results.result import PRUNING, SCHEMA, Result
from kdsearch.search.confirm import Confirmed, SeedRun, confirm
from kdsearch.search.record import Ranked
from kdsearch.search.settings import SearchResult
from kdsearch.training.checkpoint import Checkpoint, save_checkpoint
from kdsearch.training.evaluate import evaluate
from kdsearch.training.metrics import score

__all__ = ["baselines", "best_seed", "checkpoint_of", "confirm_best", "document_of", "finish"]


def finish(prepared: Prepared, search: SearchResult, say: Say, command: str, store_dir: Any) -> dict[str, Any]:
    """Confirm the best, measure the winner on the test days once, write everything.

    Returns:
        The document of best.json.

    Raises:
        UserError: no trial reached a finite score, or none with every seed.
    """
    plan = prepared.plan
    confirmed = confirm_best(prepared, search.ranked[: plan.confirm.configurations], say)
    winner = confirmed[0]
    checkpoints = [checkpoint_of(plan, run, plan.start) for run in winner.runs]
    rival = train_rival(prepared, winner, say, store_dir)
    save_checkpoint(plan.search.output / WINNER, checkpoints[best_seed(winner)])
    control = train_control(prepared, winner, say)
    if not control:
        train_students(prepared, say)
    rows = baselines(prepared, rival, control)
    document = document_of(prepared, search, confirmed, checkpoints, rows, command)
    if rival is not None:
        document["search"]["seconds"][rival.name] = sum(run.seconds for run in rival.confirmed.runs)
    write_best(plan.search.output / BEST, document)
    keep("the best so far", plan, store_dir, say, lambda: store.update(Result.read(document, BEST), store_dir))
    return document


def keep(what: str, plan: Plan, store_dir: Any, say: Say, update: Callable[[], bool]) -> None:
    """Put a result into the store; that it cannot be is no reason to lose the rest of what follows."""
    try:
        if update():
            path = store.path_of(plan.dataset.name, store_dir)
            say(f"store: {what} of {plan.dataset.name}, kept in {path}")
    except UserError as error:
        say(f"warning: {error}; the output folder has all of it")


def confirm_best(prepared: Prepared, candidates: list[Ranked], say: Say) -> list[Confirmed]:
    """Train candidates at full length with every seed; lowest mean score first.

    Raises:
        UserError: there is none, or none reached a score with every seed.
    """
    plan, seeds = prepared.plan, prepared.plan.seeds
    if candidates:
        say(f"confirm: {len(candidates)} x {len(seeds)} trainings of {plan.student.epochs} epochs")
    with Trainings(say, "confirm", len(candidates) * len(seeds)) as trainings:

        def tell(number: int, run: SeedRun) -> None:
            how = f"score {run.score:.4g} (epoch {run.epoch})" if run.error is None else run.error
            say(f"confirm: trial {number} with seed {run.seed}: {how}")
            trainings.one_ended()

        confirmed = confirm(prepared.objective, candidates, seeds, plan.search, tell)
    first = confirmed[0]
    if math.isnan(first.mean):
        run = next(run for run in first.runs if run.error is not None)
        raise UserError(
            f"no configuration could be confirmed with all its seeds; trial {first.trial} with seed {run.seed}: "
            f"{run.error}. Everything is kept: --resume with --confirm {2 * len(confirmed)}x{len(seeds)} tries more of "
            "them, and what failed for want of memory once more"
        )
    return confirmed


def best_seed(winner: Confirmed) -> int:
    """Position of the seed with the lowest score."""
    return min(range(len(winner.runs)), key=lambda i: winner.runs[i].score)


def checkpoint_of(plan: Plan, run: SeedRun, start: str) -> Checkpoint:
    """A run of the confirmation as a checkpoint; ``start`` names the architecture of one that says none itself."""
    layout = None if run.layout is None else Layout.from_plain(run.layout)
    return Checkpoint(
        channels=plan.layout(start).blocks if layout is None else layout.blocks,
        weights={name: torch.from_numpy(value) for name, value in run.weights.items()},
        dataset=plan.dataset.name,
        data=plan.dataset.fingerprint,
        epoch=run.epoch,
        validation={"score": run.score, **run.validation},
        seconds=run.seconds,
        layout=layout,
        site=Site.of(plan.dataset),
    )


def document_of(
    prepared: Prepared,
    search: SearchResult,
    confirmed: list[Confirmed],
    checkpoints: list[Checkpoint],
    baselines: dict[str, Any],
    command: str,
) -> dict[str, Any]:
    """The document of best.json for the first of ``confirmed``, whose networks are ``checkpoints``."""
    plan, winner = prepared.plan, confirmed[0]
    dataset = plan.dataset
    networks = [c.network(dataset, plan.device) for c in checkpoints]
    pruned = _pruned(plan, winner, checkpoints)
    tests = [evaluate(network, dataset, "test", plan.device) for network in networks]
    seconds = {**prepared.seconds, "search": search.seconds, "trials": search.trial_seconds}
    seconds["confirm"] = sum(run.seconds for c in confirmed for run in c.runs)
    return {
        "schema": SCHEMA,
        "dataset": dataset.name,
        "loss": plan.space.loss,
        "prune": None if plan.pruning is None else plan.pruning.percent,
        "params": dict(winner.params),
        **pruned,
        "n_parameters": networks[0].n_parameters() if not pruned else pruned["pruning"]["parameters"],
        "teacher": {
            "n_parameters": prepared.teacher.network(dataset).n_parameters(),
            "channels": prepared.teacher.channels,
            "fingerprint": plan.search.identity["teacher"],
            "epoch": prepared.teacher.epoch,
            **({"count": len(prepared.teachers)} if len(prepared.teachers) > 1 else {}),
        },
        "validation": _spread({"score": r.score, **r.validation} for r in winner.runs),
        "test": _spread(tests),
        "seeds": [run.seed for run in winner.runs],
        "per_seed": [
            {
                "seed": run.seed,
                "epoch": run.epoch,
                **({"n_parameters": pruned["pruning"]["parameters"]} if pruned else {}),
                "validation": {"score": run.score, **run.validation},
                "test": test,
            }
            for run, test in zip(winner.runs, tests, strict=True)
        ],
        "confirmed": [
            {"trial": c.trial, "params": dict(c.params), "score": {"mean": c.mean, "std": c.std}} for c in confirmed
        ],
        "baselines": baselines,
        "warnings": prepared.warnings,
        "search": {
            "trials": search.wanted,
            "completed": search.completed,
            "stopped": search.stopped,
            "failed": search.failed,
            "epochs": plan.student.epochs,
            "recipe": plan.recipe,
            **_how_pruned(plan),
            **({} if plan.search.warm is None else {"warm_start": plan.search.warm.brief()}),
            "cpus_per_trial": plan.search.cpus_per_trial,
            "device": plan.device,
            "seconds": seconds,
        },
        "protocol": plan.protocol,
        "fingerprint": {
            "code": fingerprint.code(),
            "data": dataset.fingerprint,
            "protocol": fingerprint.digest(plan.protocol),
            **({} if plan.cost is None else {"front": fingerprint.digest(plan.front_protocol)}),
            "versions": fingerprint.versions(),
        },
        "command": command,
    }


def _how_pruned(plan: Plan) -> dict[str, str]:
    """What tells one pruning from another of the same percent, for the store."""
    if plan.pruning is None:
        return {}
    told = {"start": plan.start, **prunings.shared(plan.pruning)}
    return {name: told[name] for name in PRUNING}


def _pruned(plan: Plan, winner: Confirmed, checkpoints: list[Checkpoint]) -> dict[str, Any]:
    """What was pruned and what is left: how much the hyperparameters decide, which channels the seed does."""
    if plan.pruning is None:
        return {}
    settings = settings_of(plan.pruning, winner.params)
    schedule = planned(plan.dataset, settings, plan.layout(plan.start))
    left = schedule.sizes[-1] if schedule.sizes else schedule.full
    return {
        "pruning": {
            "start": plan.start,
            "criterion": settings.criterion,
            "granularity": settings.granularity,
            "finetune_loss": settings.finetune_loss,
            "stages": len(schedule.stages),
            "parameters_before": schedule.full,
            "parameters": left,
            "kept_share": left / schedule.full,
            "channels": [_widths(c) for c in checkpoints],
        }
    }


def _widths(checkpoint: Checkpoint) -> dict[str, Any]:
    layout = checkpoint.layout or Layout.of(checkpoint.channels)
    return {"blocks": layout.blocks, "head": layout.head}


def baselines(prepared: Prepared, rival: Rival | None = None, control: Sequence[Checkpoint] = ()) -> dict[str, Any]:
    """Figures of what stands beside the winner, on validation and test days."""
    dataset, device = prepared.plan.dataset, prepared.plan.device
    rows: dict[str, Any] = {}
    for name, model in prepared.classical.items():
        validation, test = evaluate(model, dataset, "validation"), evaluate(model, dataset, "test")
        rows[name] = {"validation": {"score": score(validation), **validation}, "test": test}
    rows["teacher"] = _measured(prepared.teachers, dataset, device)
    if len(prepared.teachers) > 1:
        rows["teachers_mean"] = _measured_mean(prepared.teachers, dataset, device)
    if prepared.start is not None and prepared.plan.start != "teacher":
        rows[prepared.plan.start] = _measured([prepared.start], dataset, device)
    students = prepared.students
    rows["student_none"] = _measured(list(students.values()), dataset, device, list(students))
    if control:
        rows["student_control"] = _measured(control, dataset, device, prepared.plan.seeds)
    if rival is not None:
        runs = [checkpoint_of(prepared.plan, run, rival.start) for run in rival.confirmed.runs]
        told = {"params": dict(rival.confirmed.params), "params_from": rival.source}
        rows[rival.name] = {**_measured(runs, dataset, device, [r.seed for r in rival.confirmed.runs]), **told}
    return rows


def _measured(
    checkpoints: Sequence[Checkpoint], dataset: Dataset, device: str, seeds: Sequence[int] = ()
) -> dict[str, Any]:
    """A row of networks; with their seeds also each by itself, so that it can be paired with the winner's."""
    tests = [evaluate(c.network(dataset, device), dataset, "test", device) for c in checkpoints]
    row = {
        "n_parameters": round(statistics.fmean(c.network(dataset).n_parameters() for c in checkpoints)),
        "validation": _spread(c.validation for c in checkpoints),
        "test": _spread(tests),
    }
    if seeds:
        measured = zip(seeds, checkpoints, tests, strict=True)
        row["per_seed"] = [{"seed": seed, "validation": c.validation, "test": test} for seed, c, test in measured]
    return row


def _measured_mean(teachers: list[Checkpoint], dataset: Dataset, device: str) -> dict[str, Any]:
    mean = mean_of(teachers, dataset, device)
    validation, test = (evaluate(mean, dataset, part, device) for part in ("validation", "test"))
    return {
        "n_parameters": sum(c.network(dataset).n_parameters() for c in teachers),
        "validation": _spread([{"score": score(validation), **validation}]),
        "test": _spread([test]),
    }


def _spread(runs: Iterable[Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """Mean and deviation of each figure over seeds; no deviation of a single one."""
    rows = list(runs)
    return {
        name: {
            "mean": statistics.fmean(row[name] for row in rows),
            "std": statistics.stdev(row[name] for row in rows) if len(rows) > 1 else None,
        }
        for name in rows[0]
    }
