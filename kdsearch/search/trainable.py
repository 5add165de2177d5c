"""The worker's side of a trial: one Ray actor that runs trial after trial and keeps nothing between them."""

from __future__ import annotations

import contextlib
import gc
import io
import math
import os
import random
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any

import numpy as np
import ray
import torch
from ray import tune

from kdsearch.search.objective import EpochReport, Objective, TrialRun
from kdsearch.search.report import Report

__all__ = ["TrialActor", "is_out_of_memory", "one_line", "pack", "prepare_device", "reseed", "unpack"]

_TRACEBACK = 4000  # characters of a traceback kept, from its end
# A checkpoint is due once this many times its own cost has passed since the last: at most 2% of the time goes to them.
_CHECKPOINT_SHARE = 50
# Of an error after which CUDA gives nothing but errors to this process.
_DEVICE_LOST = ("CUDA error", "CUDA driver", "No CUDA GPUs are available", "CUDA-capable device")
# What torch says where it has no exception of its own for it.
_NO_MEMORY = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
# Longest wait for the other first actors of a run; on a shared cluster they may not all get their place.
_TOGETHER_S = 30.0


class TrialActor(tune.Trainable):
    """Runs trials of an objective. Tune resets it for the next trial instead of starting a new process.

    Whatever a trial raises ends that trial, with the reason in its report, and leaves the actor fit for the next.
    """

    def setup(  # type: ignore[override]
        self,
        config: dict[str, Any],
        objective: list[Any],
        epochs: int,
        cpus: float,
        gpus: float,
        memory_fraction: float | None,
        checkpoint_every_s: float,
        together: tuple[str, int],
    ) -> None:
        """Called once a process.

        Args:
            config: of the first trial: ``number``, ``params``, ``seed``.
            objective: a list of one reference, so that the object store holds the objective once.
            epochs: of a full trial.
            cpus: threads torch may use.
            gpus: share of a device.
            memory_fraction: of the device's memory, enforced by the allocator.
            checkpoint_every_s: least time between two checkpoints.
            together: name of the run, and how many actors it starts with.
        """
        self._epochs, self._least = epochs, checkpoint_every_s
        self._broken: Exception | None = None
        try:
            self._objective: Objective = ray.get(objective[0])
            self._device = prepare_device(cpus, gpus, memory_fraction)
        except Exception as error:  # would look like a death of the worker, and be tried again
            die_with_device(error)
            self._broken = error
        _wait_for_others(*together)
        gc.collect()
        gc.freeze()  # modules stay: later collections look at what trials leave behind only
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Forget the last trial and take the next."""
        self._begin(new_config)
        return True

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._run: TrialRun | None = None
        self._params, self._seed = config["params"], config["seed"]
        self._restore: bytes | None = None
        self._epoch, self._seconds = 0, 0.0
        self._saved_at, self._cost = time.monotonic(), 0.0
        release_memory()

    def resume(self, state: bytes) -> None:
        """Carry the trial on from a checkpoint; called by the driver before the first epoch."""
        self._restore = state

    def step(self) -> dict[str, Any]:
        """One epoch."""
        try:
            if self._run is None:
                self._run = self._build()
            found = self._run.epoch()
            self._epoch, self._seconds = found.epoch, self._seconds + found.seconds
            report = self._report(found, self._run)
            done = report.epoch >= self._epochs or not math.isfinite(report.score)
            if not done:
                report.state = self._checkpoint(self._run)
        except Exception as error:
            die_with_device(error)
            report, done = self._failure(error), True
        if done:
            self._run = None
        return {"epoch": report.epoch, "score": _value(report), "cost": report.cost, "report": report, "done": done}

    def _build(self) -> TrialRun:
        if self._broken is not None:
            raise self._broken
        reseed(self._seed)
        run = self._objective.trainer(self._params, self._device, self._seed)
        if self._restore is not None:
            # On the CPU: optimisers count their steps there, and would read the device at every update.
            state, self._restore = unpack(self._restore), None
            run.load_state_dict(state["run"])
            self._epoch, self._seconds = state["epoch"], state["seconds"]
        return run

    def _report(self, found: EpochReport, run: TrialRun) -> Report:
        return Report(
            epoch=int(found.epoch),
            score=float(found.score),
            validation=_plain(found.validation),
            losses=_plain(found.losses),
            learning_rate=float(found.learning_rate),
            seconds=float(found.seconds),
            best_score=float(run.best_score),
            best_epoch=int(run.best_epoch),
            best_validation=_plain(run.best_validation),
            cost=run.cost,
            total_seconds=float(self._seconds),
            histograms=getattr(found, "histograms", {}),
        )

    def _failure(self, error: Exception) -> Report:
        text = "".join(traceback.format_exception(error))[-_TRACEBACK:]
        report = Report(
            self._epoch,
            total_seconds=self._seconds,
            error=one_line(error),
            traceback=text,
            out_of_memory=is_out_of_memory(error),
        )
        if self._run is not None:
            with contextlib.suppress(Exception):
                report.best_score, report.best_epoch = float(self._run.best_score), int(self._run.best_epoch)
                report.best_validation = _plain(self._run.best_validation)
        return report

    def _checkpoint(self, run: TrialRun) -> bytes | None:
        """The trial's state, where one is due."""
        now = time.monotonic()
        if now - self._saved_at < max(self._least, _CHECKPOINT_SHARE * self._cost):
            return None
        state = pack({"epoch": self._epoch, "seconds": self._seconds, "run": run.state_dict()})
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - now
        return state

    def cleanup(self) -> None:
        """The actor ends."""
        self._run = None


def _wait_for_others(run: str, count: int) -> None:
    """Let the first trials of a run begin together.

    Tune hands a free actor to a trial whose own is still starting, and kills that one. Where trials are shorter than
    the start of a process, the second actor would be killed and started anew for ever.
    """
    from ray.experimental.internal_kv import _internal_kv_list, _internal_kv_put

    prefix = f"kdsearch/{run}/"
    _internal_kv_put(f"{prefix}{ray.get_runtime_context().get_actor_id()}", b"")
    deadline = time.monotonic() + _TOGETHER_S
    while len(_internal_kv_list(prefix)) < count and time.monotonic() < deadline:
        time.sleep(0.05)


def prepare_device(cpus: float, gpus: float, memory_fraction: float | None) -> str:
    """Set threads and the memory cap of this process; returns ``"cpu"`` or ``"cuda"``."""
    torch.set_num_threads(max(1, int(cpus)))
    if gpus <= 0 or not torch.cuda.is_available():
        return "cpu"
    torch.backends.cudnn.allow_tf32 = False  # convolutions as exact as matrix products, which have it off by default
    if memory_fraction is not None:
        torch.cuda.set_per_process_memory_fraction(memory_fraction)
    return "cuda"


def reseed(seed: int) -> None:
    """Seed every global generator, so that nothing of the last trial reaches the next."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def release_memory() -> None:
    """Give the memory of the last trial back to the device."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def pack(state: Mapping[str, Any]) -> bytes:
    """A state of tensors and plain values as bytes."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, Any]:
    """The state that :func:`pack` wrote, on the CPU; code in it is never run."""
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was used up: Python's or torch's on the CPU, the device's, or that of its libraries."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and any(words in said for words in _NO_MEMORY)


def die_with_device(error: BaseException) -> None:
    """End this process if its device is lost, to which nothing but another process can come back.

    The trial goes on elsewhere from its last state, as that of any worker that dies. To be out of memory is no loss.
    """
    lost = isinstance(error, torch.AcceleratorError) or any(words in str(error) for words in _DEVICE_LOST)
    if lost and not is_out_of_memory(error):
        traceback.print_exception(error)
        sys.stderr.flush()
        os._exit(1)


def one_line(error: BaseException) -> str:
    """Type and first line of an error."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__


def _value(report: Report) -> float:
    """What schedulers compare: the best score so far, infinite before the first, NaN once the trial has failed."""
    return report.best_score if report.error is None and math.isfinite(report.score) else math.nan


def _plain(figures: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in figures.items()}
