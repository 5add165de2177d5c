"""From Tune's callbacks to listeners, checkpoints and the table of trials; and the way a search is stopped."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

import ray
from optuna.trial import FrozenTrial, TrialState
from ray.tune import Callback, Stopper

from kdsearch.search.checkpoints import Checkpoints
from kdsearch.search.interrupt import StopRequest
from kdsearch.search.record import TrialTable
from kdsearch.search.report import Listener, Report
from kdsearch.search.searcher import StudySearcher
from kdsearch.search.study import progress

__all__ = ["Events"]

# Longest wait for Ray to know that a worker is dead, and the time that its process then takes to leave the device.
_GONE_S = 10.0
_EXIT_S = 1.0


class Events:
    """Sees every event of a Tune run, in the driver.

    Args:
        checkpoints: where states of running trials go.
        table: refreshed when a trial ends.
        stop: asked before every step.
        listeners: told in order.
        timeout_s: a trial from which nothing is heard for so long hangs; None for ever.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        table: TrialTable,
        stop: StopRequest,
        listeners: Iterable[Listener],
        timeout_s: float | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self.checkpoints, self.table, self.stop = checkpoints, table, stop
        self.callback, self.stopper = _Callback(self), _Stopper(self)
        self._listeners = list(listeners)
        self._searcher: StudySearcher | None = None
        self._last_epoch: dict[int, int] = {}
        self._actors: dict[str, Any] = {}
        self._workers: dict[Any, int] = {}
        self._heard: dict[str, tuple[Any, float]] = {}
        self._processes: dict[Any, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Tune's snapshots, which nobody reads, take in all that they can reach: locks and terminals too.
        return {}

    def begin(self, searcher: StudySearcher, cut_off: Iterable[FrozenTrial]) -> None:
        """A run of Tune begins."""
        self._searcher = searcher
        self._last_epoch = {t.number: max(progress(t), default=0) for t in cut_off}
        self._actors.clear()
        self._heard.clear()
        self.stop.silent = any(listener.shows_stop for listener in self._listeners)

    def tell(self, method: str, *args: Any) -> None:
        """Call every listener; one that raises is dropped, with a line on stderr."""
        for listener in list(self._listeners):
            try:
                getattr(listener, method)(*args)
            except Exception as error:
                self._listeners.remove(listener)
                name = type(listener).__name__
                print(f"kdsearch: warning: {name} failed and is switched off ({error})", file=sys.stderr)

    def started(self, trial: Any) -> None:
        """A trial has an actor: hand it the state to go on from."""
        number, actor = trial.config["number"], trial.temporary_state.ray_actor
        self._actors[trial.trial_id] = actor
        if self._searcher is not None:
            # An actor is used for one trial after another; workers are counted as they appear.
            self._searcher.runs_in(trial.trial_id, self._workers.setdefault(actor._actor_id, len(self._workers)))
        self._heard[trial.trial_id] = (trial, time.monotonic())
        self._processes[actor._actor_id] = actor
        state = self.checkpoints.read(number)
        if state is not None:
            actor.resume.remote(state)  # calls of one actor run in order, so before the first epoch
        self.tell("on_trial_start", number, trial.config["params"], self._last_epoch.get(number, 0))

    def reported(self, trial: Any, result: dict[str, Any]) -> None:
        """An epoch is over: the journal has it, now keep the state."""
        number, report = trial.config["number"], result["report"]
        self._heard[trial.trial_id] = (trial, time.monotonic())
        if report.state is not None:
            self.checkpoints.write(number, report.state)
            report.state = None
        if report.error is None and report.epoch > self._last_epoch.get(number, 0):
            self._last_epoch[number] = report.epoch
            trial.run_metadata.num_failures = 0  # deaths count that kept it from getting on
            self.tell("on_epoch", number, trial.config["params"], report)

    def recovered(self, trial: Any) -> None:
        """A worker died and its trial starts anew from its last state."""
        number = trial.config["number"]
        self._heard.pop(trial.trial_id, None)  # until it has its new worker
        self.tell("on_message", f"trial {number}: its worker died; it goes on in another")

    def postponed(self, number: int, reason: str) -> None:
        """A trial used up the memory."""
        self.tell("on_message", f"trial {number}: {reason}; it is tried once more, alone, after the others")

    def kill_hanging(self) -> None:
        """End the trials from which nothing was heard for too long."""
        if self._timeout_s is None or self._searcher is None:
            return
        now = time.monotonic()
        for trial_id, (trial, heard) in list(self._heard.items()):
            if now - heard >= self._timeout_s:
                del self._heard[trial_id]
                self._searcher.give_up(trial_id, f"hung: no epoch ended within {self._timeout_s:g} s")
                trial.max_failures = 0
                with contextlib.suppress(Exception):
                    ray.kill(self._actors[trial_id])

    def ended(self, trial: Any) -> None:
        """Nothing more is to be heard of a trial."""
        self._heard.pop(trial.trial_id, None)
        self._actors.pop(trial.trial_id, None)

    def on_end(
        self, number: int, state: TrialState, params: Mapping[str, Any], report: Report | None, reason: str | None
    ) -> None:
        """A trial has its state in the study."""
        self.checkpoints.remove(number)
        self._last_epoch.pop(number, None)
        if report is not None and reason is not None and report.error is None:
            report.error = reason
        best = report.best_score if report is not None and math.isfinite(report.best_score) else None
        validation = report.best_validation if report is not None else {}
        shown = report if report is not None else Report(0, error=reason)
        self.tell("on_trial_end", number, state.name, params, best, validation, shown)
        self.table.update()

    @property
    def stopping(self) -> bool:
        """Whether the run is to end; from then on deaths of workers are ours."""
        reason = self.stop.reason
        if reason is not None and self._searcher is not None:
            if not self._searcher.stopping:
                self.tell("on_stop", reason)
            self._searcher.stopping = True
        return reason is not None

    def clear_workers(self) -> None:
        """End all workers so far and wait until they are gone: what comes now shall have their memory."""
        for worker in self._processes.values():
            ray.kill(worker)
        for worker in self._processes.values():
            with contextlib.suppress(Exception):
                ray.get(worker.__ray_ready__.remote(), timeout=_GONE_S)
        self._processes.clear()
        time.sleep(_EXIT_S)

    def kill_actors(self) -> None:
        """Do not wait for the epochs under way: their trials go on from their last states."""
        for actor in self._actors.values():
            with contextlib.suppress(Exception):
                ray.kill(actor)
        self._actors.clear()


class _Stopper(Stopper):
    def __init__(self, events: Events) -> None:
        self._events = events

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._events.stopping


class _Callback(Callback):
    def __init__(self, events: Events) -> None:
        self._events = events

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._events.started(trial)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._events.reported(trial, result)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._events.recovered(trial)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._events.ended(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._events.ended(trial)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._events.stopping:
            self._events.kill_actors()
        else:
            self._events.kill_hanging()

    def get_state(self) -> None:
        """Nothing for Tune's snapshots."""
        return None
