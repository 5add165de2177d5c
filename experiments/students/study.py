"""Trains what the rows ask for, several networks at once, and keeps every result."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from experiments.students.rows import Row
from kdsearch.data import Dataset, Windows, load
from kdsearch.distillation import losses
from kdsearch.distillation.bank import TeacherBank
from kdsearch.distillation.ensemble import MeanForecaster, averaged
from kdsearch.distillation.objective import DistillationObjective
from kdsearch.errors import UserError
from kdsearch.models.classical import CopyLast, RidgeAR
from kdsearch.models.stgcn import STGCN
from kdsearch.results.files import read_json, write_json
from kdsearch.search import space as spaces
from kdsearch.training.evaluate import Forecaster, evaluate
from kdsearch.training.fit import fit
from kdsearch.training.metrics import score
from kdsearch.training.network import layout_of
from kdsearch.training.recipe import PAPER, with_recipe
from kdsearch.training.reference import PROTOCOL, default_cache, fingerprint, train_once
from kdsearch.training.settings import FitSettings

__all__ = ["Found", "Setup", "run"]

# What a row's runs are: by seed, what write_json kept of each.
Found = dict[str, dict[int, dict[str, Any]]]


@dataclass(frozen=True)
class Setup:
    """How everything is trained.

    Attributes:
        dataset: known name or path of a declaration.
        name: of the dataset.
        data_dir: where the raw files lie.
        epochs: of every network.
        teachers: in the ensemble, seeds 0, 1, ...; the first is the single one.
        seeds: of every student, from 1: the teacher's seed is 0.
        run_length: of the teachers' one-step epochs.
        rate: learning rate of students under the best recipe; all others have the paper's 1e-3.
        params: hyperparameters of L_STCD by recipe.
        cache: folder.
    """

    dataset: str
    name: str
    data_dir: Path | None
    epochs: int
    teachers: int
    seeds: int
    run_length: int
    rate: float
    params: Mapping[str, Mapping[str, Any]]
    cache: Path

    def __hash__(self) -> int:
        return hash((self.dataset, self.epochs, self.teachers, self.rate))  # params, a mapping, has none

    @classmethod
    def checked(
        cls,
        dataset: str,
        data_dir: Path | None,
        epochs: int,
        teachers: int,
        seeds: int,
        run_length: int,
        rate: float,
        fixed: Mapping[str, Any],
        cache: Path | None,
    ) -> Setup:
        """Refuse what cannot work.

        Raises:
            UserError: in one sentence.
        """
        if epochs < 2:
            raise UserError(f"--epochs {epochs}: the best recipe wants at least 2, one of them through the roll-out")
        data = load(dataset, data_dir)
        space = spaces.load(spaces.find(data.space), "stcd")
        point = space.full(space.known[0] if space.known else {})
        best = {**point, "learning_rate": rate, **space.fix(fixed).fixed}
        cache = cache or default_cache()
        return cls(
            dataset, data.name, data_dir, epochs, teachers, seeds, run_length, rate, {PAPER: point, "best": best}, cache
        )

    def fitted(self, recipe: str, model: Literal["teacher", "student"], seed: int) -> FitSettings:
        """How a network without KD is trained."""
        settings = with_recipe(FitSettings(epochs=self.epochs, seed=seed), recipe, model)
        if model == "teacher":  # as a search trains it
            return replace(settings, run_length=self.run_length)
        return settings if recipe == PAPER else replace(settings, learning_rate=self.rate)


def run(setup: Setup, rows: Sequence[Row], jobs: int, train: bool = True) -> Found:
    """All runs of the rows; with ``train`` those that are missing are trained first, ``jobs`` at once.

    Returns:
        By row and seed: ``validation``, ``test``, ``epoch``, ``seconds``, and of networks ``parameters``.
    """
    all_runs = [(row, seed) for row in rows for seed in _seeds(setup, row)]
    if train:
        told = [(row, seed) for row, seed in all_runs if row.teacher is not None or row.name == "ensemble"]
        first = [run for run in all_runs if run not in told]
        # Teachers take longest, so they begin first; what they tell waits for all of them.
        first.sort(key=lambda run: run[0].model != "teacher")
        for stage in (_with_teachers(setup, rows, first), told):
            _train_all(setup, stage, jobs)
    return {row.name: {s: k for s in _seeds(setup, row) if (k := _kept(setup, row, s)) is not None} for row in rows}


def _seeds(setup: Setup, row: Row) -> range:
    if row.model == "student":
        return range(1, setup.seeds + 1)
    return range(setup.teachers if row.model == "teacher" and row.recipe != PAPER else 1)


def _with_teachers(setup: Setup, rows: Sequence[Row], wanted: list[tuple[Row, int]]) -> list[tuple[Row, int]]:
    """The teachers that rows are told by, too, whether shown or not."""
    have = {(row.recipe, seed) for row, seed in wanted if row.model == "teacher"}
    more = []
    for row in rows:
        if row.teacher or row.name == "ensemble":
            count = 1 if row.teacher == "single" else setup.teachers
            for seed in range(count):
                if (row.recipe, seed) not in have:
                    have.add((row.recipe, seed))
                    more.append((Row(f"teacher_{row.recipe}", "", "teacher", row.recipe), seed))
    return more + wanted


def _train_all(setup: Setup, stage: list[tuple[Row, int]], jobs: int) -> None:
    missing = [(row, seed) for row, seed in stage if _kept(setup, row, seed) is None]
    began = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        running: dict[Future[dict[str, Any]], tuple[Row, int]] = {
            pool.submit(_train, setup, row, seed): (row, seed) for row, seed in missing
        }
        try:
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    row, seed = running.pop(future)
                    found = future.result()
                    print(
                        f"[{time.monotonic() - began:5.0f} s] {row.label or row.name}, seed {seed}: validation "
                        f"{found['validation']['score']:.3f}, epoch {found['epoch']}, {found['seconds']:.0f} s",
                        flush=True,
                    )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _train(setup: Setup, row: Row, seed: int) -> dict[str, Any]:
    """One network, in a process of its own with one thread; kept before it is told."""
    torch.set_num_threads(1)
    data = _data(setup)
    found: dict[str, Any] = {"seed": seed, "epoch": 0, "seconds": 0.0}
    forecaster: Forecaster
    if row.name == "copy_last":
        forecaster = CopyLast()
    elif row.name == "ridge_ar":
        forecaster = RidgeAR(Windows(data, "train"))
    elif row.name == "ensemble":
        forecaster = MeanForecaster([_teacher(setup, row.recipe, k) for k in range(setup.teachers)])
    elif row.teacher is None:
        forecaster, told = _reference(setup, row, seed)
        found |= told
    else:
        forecaster, told = _distilled(setup, row, seed)
        found |= told
    for part in ("validation", "test"):
        figures = evaluate(forecaster, data, part)
        found[part] = {"score": score(figures), **figures}
    if isinstance(forecaster, STGCN):
        found["parameters"] = forecaster.n_parameters()
    write_json(_file(setup, row, seed), found)
    return found


def _reference(setup: Setup, row: Row, seed: int) -> tuple[STGCN, dict[str, Any]]:
    data, model = _data(setup), row.model or "student"
    settings = setup.fitted(row.recipe, model, seed)
    task = losses.build("none", error=settings.error)
    checkpoint, _ = train_once(data, model, layout_of(model, row.recipe), task, settings, setup.cache)
    return checkpoint.network(data, "cpu"), {"epoch": checkpoint.epoch, "seconds": checkpoint.seconds}


def _distilled(setup: Setup, row: Row, seed: int) -> tuple[STGCN, dict[str, Any]]:
    data = _data(setup)
    settings = setup.fitted(row.recipe, "student", seed)
    count = 1 if row.teacher == "single" else setup.teachers
    objective = DistillationObjective(
        data, row.loss, settings, _bank(setup, row.recipe, row.loss, count), None, layout_of("student", row.recipe)
    )
    trainer = objective.trainer(setup.params[row.recipe], "cpu", seed)
    result = fit(trainer)
    trainer.model.load_state_dict(trainer.best_weights)
    return trainer.model.eval(), {
        "epoch": result.best.epoch,
        "seconds": sum(report.seconds for report in result.history),
    }


@lru_cache(maxsize=2)
def _bank(setup: Setup, recipe: str, loss: str, count: int) -> TeacherBank:
    data = _data(setup)
    days, steps = Windows(data, "train").days, setup.fitted(recipe, "student", 0).rollout_steps
    banks = []
    for k in range(count):
        teacher = _teacher(setup, recipe, k)
        bank = TeacherBank.build(teacher, days, losses.get(loss).NEEDS)
        banks.append(bank.with_rollout(teacher, days, steps) if steps > 1 else bank)
    return averaged(banks)


def _teacher(setup: Setup, recipe: str, seed: int) -> STGCN:
    return _reference(setup, Row("", "", "teacher", recipe), seed)[0].eval()


@lru_cache(maxsize=1)
def _data(setup: Setup) -> Dataset:
    return load(setup.dataset, setup.data_dir)


def _file(setup: Setup, row: Row, seed: int) -> Path:
    """Named by all that the result hangs on."""
    data = _data(setup)
    settings = setup.fitted(row.recipe, row.model or "student", seed)
    what: dict[str, Any] = {
        "data": data.fingerprint,
        "row": [row.model or row.name, row.loss, row.teacher],
        "protocol": PROTOCOL,
    }
    if row.model is not None:
        what["network"] = fingerprint(data, layout_of(row.model, row.recipe), settings)
    if row.teacher is not None or row.name == "ensemble":
        count = 1 if row.teacher == "single" else setup.teachers
        what["params"] = dict(setup.params[row.recipe])
        what["teachers"] = [
            fingerprint(data, layout_of("teacher", row.recipe), setup.fitted(row.recipe, "teacher", k))
            for k in range(count)
        ]
    name = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
    return setup.cache / "shipping" / f"{data.name}-{row.name}-{seed}-{name}.json"


def _kept(setup: Setup, row: Row, seed: int) -> dict[str, Any] | None:
    file = _file(setup, row, seed)
    return read_json(file, "a result") if file.is_file() else None
