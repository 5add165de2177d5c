"""``kdsearch.train``, whole: one network, several seeds, no search."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from kdsearch import fingerprint
from kdsearch.command import Clock
from kdsearch.data import Dataset
from kdsearch.data.site import Site
from kdsearch.distillation.objective import TRAINING_PARAMS, DistillationObjective
from kdsearch.errors import INTERRUPTED, UserError
from kdsearch.job.bank import recorded_sampling
from kdsearch.job.plan import SHAPE, Plan, check, check_cache, check_output
from kdsearch.job.prepare import build_bank, build_objective, start_of
from kdsearch.job.references import trained, trained_teachers
from kdsearch.job.say import Say, Told
from kdsearch.job.settings import BANK_MEMORY, JobSettings
from kdsearch.models.layout import Layout
from kdsearch.models.stgcn import CHANNELS
from kdsearch.pruning.objective import PruningObjective
from kdsearch.results.best import dataset_of, read_best
from kdsearch.results.files import write_json
from kdsearch.search.interrupt import sigterm_as_interrupt
from kdsearch.search.settings import output_lock
from kdsearch.training.checkpoint import Checkpoint, save_checkpoint, save_tensors
from kdsearch.training.evaluate import evaluate
from kdsearch.training.recipe import PAPER
from kdsearch.training.reference import fit_resumably

__all__ = ["TrainSettings", "run_training"]

# Beginning of the files in the output folder that an interrupted training goes on from.
_STATE = ".training-"


@dataclass(frozen=True)
class TrainSettings:
    """The command's arguments.

    Attributes:
        dataset: known name or path of a TOML declaration; None for that of ``params``.
        model: ``teacher``, ``base`` or ``student``.
        loss: of a student; None for that of ``params``, else ``none``.
        params: a best.json, whose hyperparameters, seeds and protocol are taken.
        fixed: hyperparameters given by ``--set``.
        seeds: how many; None for those of ``params``, else 1.
        seed: the first of them; None for that of ``params``, else 0.
        epochs: of the network; None for those of ``params``, else of the space.
        teacher_epochs: of the teacher of a student; None likewise.
        recipe: how it is trained; None for that of ``params``, else the paper's.
        test: also measure on the test days.
        data_dir, cache_dir, output, command: see :class:`kdsearch.job.settings.JobSettings`.
        bank_memory: bytes that the teacher bank may take.
    """

    dataset: str | None = None
    model: str = "student"
    loss: str | None = None
    params: Path | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    seeds: int | None = None
    seed: int | None = None
    epochs: int | None = None
    teacher_epochs: int | None = None
    recipe: str | None = None
    test: bool = False
    data_dir: Path | None = None
    cache_dir: Path | None = None
    output: Path | None = None
    bank_memory: int = BANK_MEMORY
    command: str = ""


def run_training(settings: TrainSettings) -> int:
    """Train, say how it came out, and write a checkpoint a seed as each one ends, then ``result.json``.

    Returns:
        Exit code: 0, or 130 if it was interrupted (the same command carries on).

    Raises:
        UserError: whatever its user can mend.
    """
    document = None if settings.params is None else read_best(settings.params)
    _check(settings, document)
    plan = check(_job(settings, document), search=False)
    if document is not None:
        plan.sampling = recorded_sampling(document["protocol"])
        _check_data(settings, document, plan.dataset)
        _check_networks(settings, document, plan)
    output = settings.output or Path("runs") / f"{plan.dataset.name}-{settings.model}-{plan.space.loss}-train"
    check_output(output)
    check_cache(plan.cache)
    with output_lock(output), sigterm_as_interrupt():
        try:
            _train(settings, document, plan, output)
        except KeyboardInterrupt:
            print("interrupted; what is trained is kept, the same command carries on", file=sys.stderr)
            return INTERRUPTED
    return 0


def _train(settings: TrainSettings, document: Mapping[str, Any] | None, plan: Plan, output: Path) -> None:
    say, seeds, began = Clock(), _seeds(settings, document), time.perf_counter()
    networks: Iterator[Checkpoint]
    if settings.model == "student" and (plan.space.loss != "none" or plan.pruning is not None):
        params = _params(settings, document, plan)
        networks = _distilled(plan, params, document, seeds, settings.bank_memory, output, say)
    else:
        how = plan.student if settings.model == "student" else plan.teacher
        how = replace(how, **_of_training(settings, document))
        params = {name: getattr(how, name) for name in TRAINING_PARAMS}
        networks = (trained(plan, settings.model, replace(how, seed=seed), say) for seed in seeds)
    runs = []
    for seed, checkpoint in zip(seeds, networks, strict=True):
        save_checkpoint(output / f"seed-{seed}.pt", checkpoint)
        runs.append(_run(checkpoint, plan.dataset, plan.device, seed, settings.test))
    protocol = {**plan.protocol, "seeds": seeds}
    found = {
        "dataset": plan.dataset.name,
        "model": settings.model,
        "loss": plan.space.loss,
        "params": params,
        "per_seed": runs,
        "seconds": time.perf_counter() - began,
        "protocol": protocol,
        "fingerprint": {
            "code": fingerprint.code(),
            "data": plan.dataset.fingerprint,
            "protocol": fingerprint.digest(protocol),
            "versions": fingerprint.versions(),
        },
        "command": settings.command,
    }
    write_json(output / "result.json", found)
    for state in output.glob(f"{_STATE}*"):
        state.unlink(missing_ok=True)
    _print(runs, document, output)


def _check(settings: TrainSettings, document: Mapping[str, Any] | None) -> None:
    if settings.model not in CHANNELS:
        raise UserError(f"--model {settings.model}: choose one of {', '.join(CHANNELS)}")
    loss = settings.loss or ("none" if document is None else document["loss"])
    if settings.model != "student" and settings.loss is None and document is not None:
        raise UserError(f"--model {settings.model}: --params is of a student ({loss}); leave one of the two out")
    if settings.model != "student" and loss != "none":
        raise UserError(
            f"--model {settings.model} is trained on the task alone: leave --loss {loss} out, or train a student"
        )
    if document is None:
        return
    if settings.loss not in (None, document["loss"]):
        raise UserError(f"--loss {settings.loss}: {settings.params} holds the configuration of {document['loss']}")
    if settings.recipe not in (None, document["protocol"].get("recipe", PAPER)):
        raise UserError(
            f"--recipe {settings.recipe}: {settings.params} was found with --recipe "
            f"{document['protocol'].get('recipe', PAPER)}; leave the option out"
        )
    if settings.fixed:
        raise UserError("--set and --params: give one of the two, the file holds every hyperparameter")


def _check_data(settings: TrainSettings, document: Mapping[str, Any], dataset: Dataset) -> None:
    known = document["fingerprint"].get("data")
    if known != dataset.fingerprint:
        raise UserError(
            f"{settings.params} was found on {document['dataset']} (data {known}), and "
            f"{settings.dataset or dataset.name} is other data ({dataset.fingerprint}): give the one it was found on"
        )


def _check_networks(settings: TrainSettings, document: Mapping[str, Any], plan: Plan) -> None:
    """Networks of a recipe may have changed since the search: its hyperparameters would be those of others."""
    told, now = document["protocol"], json.loads(json.dumps(plan.protocol))
    for who in ("student", "teacher"):
        if any(told[who].get(name) != now[who].get(name) for name in SHAPE):
            raise UserError(
                f"{settings.params} is of an earlier version of kdsearch, whose {who} by --recipe {plan.recipe} was "
                f"another network (channels {told[who].get('channels')}): search again"
            )


def _job(settings: TrainSettings, document: Mapping[str, Any] | None) -> JobSettings:
    """The search this training would belong to: it says how teacher and student are trained."""
    of_student, of_teacher = (settings.epochs, None) if settings.model == "student" else (None, settings.epochs)
    if document is None:
        return JobSettings(
            dataset=settings.dataset or "demo",
            loss=settings.loss or "none",
            fixed=settings.fixed,
            data_dir=settings.data_dir,
            epochs=of_student,
            teacher_epochs=of_teacher or settings.teacher_epochs,
            recipe=settings.recipe or PAPER,
            cache_dir=settings.cache_dir,
            bank_memory=settings.bank_memory,
        )
    protocol = document["protocol"]
    return JobSettings(
        dataset=settings.dataset or dataset_of(document, settings.params),
        loss=document["loss"],
        **_pruning(document),
        data_dir=settings.data_dir,
        epochs=of_student or protocol["student"]["epochs"],
        seed=protocol["teacher"]["seed"],
        teacher_epochs=of_teacher or settings.teacher_epochs or protocol["teacher"]["epochs"],
        teacher_run_length=protocol["teacher"]["run_length"],
        teachers=protocol.get("teachers", 1),
        recipe=protocol.get("recipe", PAPER),
        cache_dir=settings.cache_dir,
        bank_memory=settings.bank_memory,
    )


def _pruning(document: Mapping[str, Any]) -> dict[str, Any]:
    """What was pruned, as the command's arguments."""
    told = document["protocol"].get("pruning")
    names = ("criterion", "granularity", "finetune_loss", "unreachable")
    return (
        {}
        if told is None
        else {"prune": told["percent"], "start": told["start"], **{name: told[name] for name in names}}
    )


def _seeds(settings: TrainSettings, document: Mapping[str, Any] | None) -> list[int]:
    kept = [0] if document is None else [int(seed) for seed in document["seeds"]]
    if settings.seed is None and settings.seeds is None:
        return kept
    first = kept[0] if settings.seed is None else settings.seed
    return [first + k for k in range(settings.seeds or len(kept))]


def _of_training(settings: TrainSettings, document: Mapping[str, Any] | None) -> dict[str, Any]:
    """Batch size and rate, from the file of a student or as far as ``--set`` gives them."""
    given = settings.fixed if document is None or settings.model != "student" else document["params"]
    return {name: value for name, value in given.items() if name in TRAINING_PARAMS}


def _params(settings: TrainSettings, document: Mapping[str, Any] | None, plan: Plan) -> dict[str, Any]:
    """From the file, or the space's first known point with what ``--set`` changes."""
    if document is not None:
        return dict(document["params"])
    return plan.space.full(plan.space.known[0] if plan.space.known else {})


def _distilled(
    plan: Plan,
    params: dict[str, Any],
    document: Mapping[str, Any] | None,
    seeds: list[int],
    bank_memory: int,
    output: Path,
    say: Say,
) -> Iterator[Checkpoint]:
    say("hyperparameters: " + " ".join(f"{name}={value}" for name, value in params.items()))
    teachers = trained_teachers(plan, say)
    bank, live, _ = build_bank(plan, teachers, bank_memory, say)
    objective = build_objective(plan, bank, live, start_of(plan, teachers[0], say))
    if document is not None and plan.device == "cpu":
        # As many threads as a trial had: another number adds the same products in another order.
        torch.set_num_threads(int(document["search"]["cpus_per_trial"]))
    what = {"data": plan.dataset.fingerprint, "protocol": {**plan.protocol, "seeds": []}, "params": params}
    what["loss"] = plan.space.loss
    for seed in seeds:
        state = output / f"{_STATE}{seed}-{fingerprint.digest(what)}"
        yield _distil(objective, params, plan, seed, state, say)


def _distil(
    objective: DistillationObjective | PruningObjective,
    params: dict[str, Any],
    plan: Plan,
    seed: int,
    state: Path,
    say: Say,
) -> Checkpoint:
    what = "student" if plan.pruning is None else f"{plan.start} pruned by {plan.pruning.percent:g}%,"
    label = f"{what} {plan.space.loss}, seed {seed}"
    try:
        trainer, result = fit_resumably(
            lambda: objective.trainer(params, plan.device, seed), state, Told(say, label, plan.student)
        )
    except FloatingPointError as error:
        raise UserError(f"{label}: {error}; lower the learning rate") from None
    save_tensors(state, trainer.state_dict())  # until the last seed is trained, an interrupted command finds it
    seconds = sum(r.seconds for r in result.history)
    say(f"{label}: trained in {seconds:.0f} s, epoch {result.best.epoch}, validation {result.best.score:.4f}")
    layout = None if trainer.layout is None else Layout.from_plain(trainer.layout)
    return Checkpoint(
        channels=trainer.model.channels,
        weights={name: value.cpu() for name, value in trainer.best_weights.items()},
        dataset=plan.dataset.name,
        data=plan.dataset.fingerprint,
        epoch=result.best.epoch,
        validation={"score": result.best.score, **result.best.validation},
        seconds=seconds,
        layout=layout,
        site=Site.of(plan.dataset),
    )


def _run(checkpoint: Checkpoint, dataset: Dataset, device: str, seed: int, test: bool) -> dict[str, Any]:
    run: dict[str, Any] = {"seed": seed, "epoch": checkpoint.epoch, "validation": checkpoint.validation}
    if test:
        run["test"] = evaluate(checkpoint.network(dataset, device), dataset, "test", device)
    return run


def _print(runs: list[dict[str, Any]], document: Mapping[str, Any] | None, output: Path) -> None:
    print()
    for part in ("validation", "test"):
        rows = [run[part] for run in runs if part in run]
        for name in rows[0] if rows else ():
            values = [row[name] for row in rows]
            spread = f" ± {statistics.stdev(values):.3f} over {len(values)} seeds" if len(values) > 1 else ""
            print(f"{part:<10}  {name:<8}  {statistics.fmean(values):8.3f}{spread}")
    if document is not None:
        told = {run["seed"]: run["validation"]["score"] for run in document["per_seed"]}
        for run in runs:
            if run["seed"] in told:
                now = run["validation"]["score"]
                print(f"seed {run['seed']}: validation score {now:.6f}, best.json has {told[run['seed']]:.6f}")
    print(f"written to {output}")
