"""Networks that every trial looks at and none changes: teacher, base model, student without KD. Trained once."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import platformdirs
import torch
from filelock import FileLock, Timeout

from kdsearch.data import Dataset
from kdsearch.errors import UserError
from kdsearch.models.layout import Channels, Layout
from kdsearch.training.checkpoint import (
    Checkpoint,
    DamagedFile,
    load_checkpoint,
    load_tensors,
    save_checkpoint,
    save_tensors,
)
from kdsearch.training.fit import Trainer, fit
from kdsearch.training.network import new_network
from kdsearch.training.parts import LossFunction
from kdsearch.training.report import EpochReport, FitResult
from kdsearch.training.settings import FitSettings

__all__ = ["PROTOCOL", "default_cache", "fingerprint", "fit_resumably", "path_of", "train_once"]

# Raised whenever training or evaluation changes what the same settings compute.
PROTOCOL = 1

_SAVE_EVERY_S = 10.0


def default_cache() -> Path:
    """Where trained networks are kept: the platform's cache folder for kdsearch."""
    return Path(platformdirs.user_cache_dir("kdsearch")) / "networks"


def fingerprint(dataset: Dataset, layout: Channels | Layout, settings: FitSettings) -> str:
    """Identifies a training by data, architecture, settings (seed among them) and protocol."""
    layout = _whole(layout)
    shape = layout.blocks if layout.published else layout.plain()
    what = {"data": dataset.fingerprint, "channels": shape, "protocol": PROTOCOL, **settings.plain()}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def path_of(cache: Path, dataset: Dataset, name: str, layout: Channels | Layout, settings: FitSettings) -> Path:
    """The file of a trained network in the cache; arguments as of :func:`train_once`."""
    return cache / f"{dataset.name}-{name}-{fingerprint(dataset, layout, settings)}.pt"


def train_once(
    dataset: Dataset,
    name: str,
    layout: Channels | Layout,
    loss: LossFunction,
    settings: FitSettings,
    cache: Path,
    device: str = "cpu",
    on_epoch: Callable[[EpochReport], bool | None] | None = None,
    on_wait: Callable[[], None] | None = None,
) -> tuple[Checkpoint, bool]:
    """The network trained on the task alone, from the cache or trained now.

    Processes that want the same network at once wait for the one that trains it. What an interrupted training
    computed is kept and carried on from.

    Args:
        dataset: data; training and validation days are used.
        name: for the file, e.g. ``"teacher"``.
        layout: architecture.
        loss: the task loss.
        settings: protocol and seed.
        cache: folder of trained networks.
        device: where to train.
        on_epoch: called after each epoch that is trained now.
        on_wait: called once if another process holds the lock.

    Returns:
        The best epoch's checkpoint, and whether it came from the cache.

    Raises:
        UserError: the cache folder cannot be written, or the training diverged.
    """
    path = path_of(cache, dataset, name, layout, settings)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if on_wait is not None:
                on_wait()
            lock.acquire()
    except OSError as error:
        raise UserError(
            f"cannot write to the cache folder {cache} ({error.strerror}); name another by --cache-dir"
        ) from None
    try:
        kept = _kept(path)
        if kept is not None:
            return kept, True
        return _train(path, dataset, name, _whole(layout), loss, settings, device, on_epoch), False
    finally:
        lock.release()


def _whole(layout: Channels | Layout) -> Layout:
    return layout if isinstance(layout, Layout) else Layout.of(layout)


def _kept(path: Path) -> Checkpoint | None:
    """The cached checkpoint; one that is damaged is removed and counts as absent."""
    if not path.exists():
        return None
    try:
        return load_checkpoint(path)
    except DamagedFile:
        path.unlink(missing_ok=True)
        return None


def _train(
    path: Path,
    dataset: Dataset,
    name: str,
    layout: Layout,
    loss: LossFunction,
    settings: FitSettings,
    device: str,
    on_epoch: Callable[[EpochReport], bool | None] | None,
) -> Checkpoint:

    def fresh() -> Trainer:
        return Trainer(new_network(dataset, layout, settings.seed), dataset, loss, settings, device=device)

    partial = path.with_suffix(".partial")
    try:
        trainer, result = fit_resumably(fresh, partial, on_epoch)
    except FloatingPointError:
        raise UserError(
            f"the {name} network diverged on {dataset.name} at learning rate {settings.learning_rate:g}; lower it"
        ) from None
    checkpoint = Checkpoint(
        channels=layout.blocks,
        weights={k: v.cpu() for k, v in trainer.best_weights.items()},
        dataset=dataset.name,
        data=dataset.fingerprint,
        epoch=result.best.epoch,
        validation={"score": result.best.score, **result.best.validation},
        seconds=sum(r.seconds for r in result.history),
        layout=None if layout.published else layout,
        diverged=None if math.isfinite(result.history[-1].score) else result.history[-1].epoch,
    )
    save_checkpoint(path, checkpoint)
    partial.unlink(missing_ok=True)
    return checkpoint


def fit_resumably(
    fresh: Callable[[], Trainer],
    partial: Path,
    on_epoch: Callable[[EpochReport], bool | None] | None = None,
) -> tuple[Trainer, FitResult]:
    """Train to the end, from a state that an interrupted training left, and leave one now and then.

    Args:
        fresh: builds the training; called again where the state turns out to be of no use.
        partial: file of the state; it stays until the caller has kept the result and removes it.
        on_epoch: called after each epoch that is trained now; a true value ends the training.

    Raises:
        FloatingPointError, UserError: as :func:`kdsearch.training.fit.fit`.
    """
    trainer = fresh()
    if partial.exists():
        try:
            trainer.load_state_dict(load_tensors(partial))
        except torch.OutOfMemoryError:
            raise
        except (DamagedFile, KeyError, RuntimeError, TypeError, ValueError):
            partial.unlink(missing_ok=True)
            trainer = fresh()  # some of the state may have been read before the rest failed
    saved = time.monotonic()

    def after(report: EpochReport) -> bool | None:
        nonlocal saved
        if time.monotonic() - saved > _SAVE_EVERY_S:
            save_tensors(partial, trainer.state_dict())
            saved = time.monotonic()
        return on_epoch(report) if on_epoch is not None else None

    return trainer, fit(trainer, on_epoch=after)
