"""One task from beginning to end, in a process of its own: train or fit, measure on the test days, keep."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.reproduce import kept
from experiments.reproduce.kept import Record
from experiments.reproduce.plans import Task
from kdsearch.data import Dataset, Windows
from kdsearch.distillation import losses
from kdsearch.distillation.bank import TeacherBank
from kdsearch.distillation.ensemble import MeanForecaster
from kdsearch.distillation.objective import DistillationObjective
from kdsearch.errors import UserError
from kdsearch.models.arima import ARIMA
from kdsearch.models.astgcn import ASTGCN
from kdsearch.models.classical import CopyLast, HistoricalAverage, RidgeAR
from kdsearch.models.layout import Layout
from kdsearch.models.stgcn import STGCN
from kdsearch.pruning.objective import PruningObjective
from kdsearch.pruning.settings import PruneSettings
from kdsearch.training.checkpoint import Checkpoint, load_checkpoint, load_tensors, save_tensors
from kdsearch.training.evaluate import Forecaster, evaluate
from kdsearch.training.fit import EpochReport, Trainer
from kdsearch.training.metrics import score
from kdsearch.training.network import layout_of, new_network
from kdsearch.training.reference import fit_resumably, path_of, train_once

__all__ = ["Tools", "classical", "holds_network", "network_of", "perform"]

Told = Callable[[str], None]

_SAVE_EVERY_S = 10.0


@dataclass(frozen=True)
class Tools:
    """What a task needs beside itself.

    Attributes:
        dataset: readings.
        cache: folder of trained networks.
        device: where to train.
        bank, teacher: what a distilled task reads of its teacher.
        start, pruning: what a pruned one begins with, and how.
        teachers: with whose mean a row forecasts.
    """

    dataset: Dataset
    cache: Path
    device: str = "cpu"
    bank: TeacherBank | None = None
    teacher: Checkpoint | None = None
    start: Checkpoint | None = None
    pruning: PruneSettings | None = None
    teachers: Sequence[Checkpoint] = ()


def perform(task: Task, tools: Tools, told: Told) -> Record:
    """Give a task's result, from the cache or computed now.

    Args:
        task: which.
        tools: what it needs.
        told: takes how far it has come, in a few words.

    Raises:
        UserError: the cache cannot be written, or pruning did not end.
        FloatingPointError: the training diverged.
    """
    with kept.locked(task.path):
        record = kept.read(task.path)
        if record is not None:
            return record
        simple = {"classical": _classical, "mean": _mean, "teacher": _network, "base": _network, "astgcn": _astgcn}
        how = simple.get(task.row.kind)
        if task.row.kind == "student" and task.row.loss == "none":
            how = _network
        record, weights = (how or _distilled)(task, tools, told)
        kept.keep(task.path, record, weights)
        task.path.with_suffix(".partial").unlink(missing_ok=True)
        return record


def classical(key: str, dataset: Dataset, weights: Mapping[str, Tensor] | None = None) -> Forecaster:
    """A classical forecaster by the key of its row; with ``weights`` of one that was fitted before."""
    windows = Windows(dataset, "train")
    if key == "copy_last":
        return CopyLast()
    if key == "historical_average":
        return HistoricalAverage(windows)
    if key == "ridge_ar":
        return RidgeAR(windows)
    if weights:
        return ARIMA.of(weights["coefficients"], weights["intercept"])
    return ARIMA(windows, dataset.n_pred)


def _classical(task: Task, tools: Tools, told: Told) -> tuple[Record, dict[str, Tensor]]:
    dataset, began = tools.dataset, time.perf_counter()
    model: Forecaster
    if task.row.key == "arima":
        model = _arima(dataset, task.path.with_suffix(".partial"), told)
        weights = {"coefficients": model.coefficients, "intercept": model.intercept}
    else:
        model, weights = classical(task.row.key, dataset), {}
    seconds = time.perf_counter() - began
    return _record(task, model, tools, evaluate(model, dataset, "validation"), seconds=seconds), weights


def _arima(dataset: Dataset, partial: Path, told: Told) -> ARIMA:
    """Fitted sensor by sensor; those that an interrupted fit had done are not fitted again."""
    begun, saved = None, time.monotonic()
    if partial.exists():
        with contextlib.suppress(UserError, KeyError):
            kept_state = load_tensors(partial)
            begun = (kept_state["coefficients"], kept_state["intercept"])

    def after(coefficients: Tensor, intercept: Tensor) -> None:
        nonlocal saved
        told(f"sensor {coefficients.shape[2]} of {dataset.n_nodes}")
        if time.monotonic() - saved > _SAVE_EVERY_S:
            save_tensors(partial, {"coefficients": coefficients, "intercept": intercept})
            saved = time.monotonic()

    return ARIMA(Windows(dataset, "train"), dataset.n_pred, begun=begun, on_sensor=after)


def _mean(task: Task, tools: Tools, told: Told) -> tuple[Record, dict[str, Tensor]]:
    model = MeanForecaster([teacher.network(tools.dataset, tools.device).eval() for teacher in tools.teachers])
    return _record(task, model, tools, evaluate(model, tools.dataset, "validation", tools.device)), {}


def _network(task: Task, tools: Tools, told: Told) -> tuple[Record, dict[str, Tensor]]:
    """Teacher, base model or student without KD; its weights stay where every other command looks for them."""
    name = task.row.kind
    checkpoint, _ = train_once(
        tools.dataset,
        name,
        layout_of(name, task.row.recipe),
        losses.build("none", error=task.fit.error),
        task.fit,
        tools.cache,
        tools.device,
        on_epoch=_teller(told, task),
    )
    model = checkpoint.network(tools.dataset, tools.device)
    return (
        _record(task, model, tools, checkpoint.validation, epoch=checkpoint.epoch, seconds=checkpoint.seconds),
        {},
    )


def _astgcn(task: Task, tools: Tools, told: Told) -> tuple[Record, dict[str, Tensor]]:
    def fresh() -> Trainer:
        loss = losses.build("none", error=task.fit.error)
        return Trainer(_new_astgcn(tools.dataset, task.seed), tools.dataset, loss, task.fit, device=tools.device)

    return _trained(task, tools, fresh, told)


def _distilled(task: Task, tools: Tools, told: Told) -> tuple[Record, dict[str, Tensor]]:
    objective: DistillationObjective | PruningObjective
    objective = DistillationObjective(
        tools.dataset, task.row.loss, task.fit, tools.bank, tools.teacher, layout_of("student", task.row.recipe)
    )
    if tools.pruning is not None and tools.start is not None:
        objective = PruningObjective(objective, tools.start, tools.pruning)
    chosen = objective  # of one type from here on
    return _trained(task, tools, lambda: chosen.trainer(task.params, tools.device, task.seed), told)


def _trained(task: Task, tools: Tools, fresh: Callable[[], Trainer], told: Told) -> tuple[Record, dict[str, Tensor]]:
    trainer, result = fit_resumably(fresh, task.path.with_suffix(".partial"), _teller(told, task))
    model = trainer.model
    model.load_state_dict(trainer.best_weights)
    before = None if tools.start is None else tools.start.network(tools.dataset).n_parameters()
    shares = [r.losses["teacher_share"] for r in result.history if "teacher_share" in r.losses]
    record = _record(
        task,
        model.eval(),
        tools,
        {"score": result.best.score, **result.best.validation},
        epoch=result.best.epoch,
        epochs=len(result.history),
        seconds=sum(r.seconds for r in result.history),
        kept_share=None if before is None else model.n_parameters() / before,
        attention=sum(shares) / len(shares) if shares else None,
        layout=trainer.layout,
    )
    return record, {name: value.detach().cpu() for name, value in trainer.best_weights.items()}


def _record(task: Task, model: Any, tools: Tools, validation: Mapping[str, float], **more: Any) -> Record:
    test = evaluate(model, tools.dataset, "test", "cpu" if task.row.kind == "classical" else tools.device)
    figures = {"score": score(validation), **validation}
    size = model.n_parameters() if isinstance(model, torch.nn.Module) else None
    return Record(seed=task.seed, validation=figures, test=test, n_parameters=size, **more)


def _teller(told: Told, task: Task) -> Callable[[EpochReport], None]:
    def tell(report: EpochReport) -> None:  # gives nothing back: a true value would end the training
        told(f"epoch {report.epoch} of {task.fit.epochs}, validation {report.score:.3f}")

    return tell


def _new_astgcn(dataset: Dataset, seed: int) -> ASTGCN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ASTGCN(dataset.n_nodes, torch.tensor(dataset.graph_kernel), dataset.n_his, dataset.n_pred)


def holds_network(task: Task, dataset: Dataset, cache: Path) -> bool:
    """Whether :func:`network_of` will find the network of a finished task."""
    try:
        weights = kept.weights_of(task.path)
    except UserError:
        return False
    return bool(weights) or _network_path(task, dataset, cache).exists()


def _network_path(task: Task, dataset: Dataset, cache: Path) -> Path:
    """Where a network lies whose weights other commands look for too."""
    name = task.row.kind
    return path_of(cache, dataset, name, layout_of(name, task.row.recipe), task.fit)


def network_of(task: Task, dataset: Dataset, cache: Path) -> STGCN:
    """The trained STGCN of a finished task, in evaluation mode, on the CPU.

    Raises:
        UserError: it is not in the cache.
    """
    row = task.row
    weights = kept.weights_of(task.path)
    if not weights:
        return load_checkpoint(_network_path(task, dataset, cache)).network(dataset)
    record = kept.read(task.path)
    layout = record.layout if record is not None else None
    whole = layout_of("student", row.recipe) if layout is None else Layout.from_plain(layout)
    model = new_network(dataset, whole, seed=0)
    model.load_state_dict(weights)
    return model.eval()
