"""A search: trials of an objective, chosen by Optuna, run and stopped early by Ray Tune, remembered in a journal.

How a search is resumed. The journal is the only record: Tune's own snapshots are never read, because they lag behind,
repeat finished trials and know nothing of rungs. A resumed search is a new Tune run for the trials that are missing.
Trials that were running go on under their own numbers, from their last state where there is one, else from their
start; none is lost, repeated or left RUNNING. The scheduler's books are filled from the journal's values.
"""

from __future__ import annotations

import shutil
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsearch.contents import JOURNAL, STATES, TRIALS
from kdsearch.search.interrupt import StopRequest
from kdsearch.search.objective import Objective
from kdsearch.search.report import Listener
from kdsearch.search.resources import Plan, make_plan
from kdsearch.search.session import cluster_errors, current_machine, ray_session
from kdsearch.search.settings import SearchResult, SearchSettings, check_settings, disk_errors, output_lock
from kdsearch.search.space import Space

if TYPE_CHECKING:
    import optuna

__all__ = ["SearchResult", "SearchSettings", "check_resume", "run_search"]

# A trial that was cut off this often without finishing one more epoch is taken to be what kills the search.
_ATTEMPTS = 5
# Times a trial's worker may die (killed, out of memory) before the trial has failed.
_WORKER_DEATHS = 2


def run_search(
    objective: Objective, space: Space, settings: SearchSettings, listeners: tuple[Listener, ...] = ()
) -> SearchResult:
    """Run a search to its end, or carry one on.

    Args:
        objective: what builds the trials; it goes to Ray's object store once.
        space: what is searched.
        settings: how far, and on what.
        listeners: told of every event, in this process.

    Returns:
        What became of it, also when it was interrupted or its time was up.

    Raises:
        UserError: the output folder is in use, holds another search or cannot be written; the settings or the
            resources asked for are impossible; the disk is full.
    """
    began = time.monotonic()
    check_settings(settings)
    output = settings.output.resolve()
    with output_lock(output), StopRequest(settings.time_budget_s) as stop, disk_errors(output):
        if settings.address is None:
            _plan(settings, settings.trials)
        from kdsearch.search import study as studies

        study = studies.open_study(output, settings.setup(space), settings.resume, settings.objectives)
        studies.close_decided(study)
        run = _Run(objective, space, settings, output, study, stop, listeners, began)
        if run.missing > 0 and stop.reason is None:
            with ray_session(settings.address) as ready:
                import ray.tune  # noqa: F401  takes as long as Ray's start, beside it

                ready()
                stop.install()
                with cluster_errors(settings.address):
                    run.start(_plan(settings, run.missing))
        return run.result()


def check_resume(space: Space, settings: SearchSettings) -> None:
    """Refuse early to carry on a search that was set up otherwise; nothing is written.

    Raises:
        UserError: the output folder is in use, cannot be written, or holds another search.
    """
    from kdsearch.search import study as studies

    output = settings.output.resolve()
    with output_lock(output), disk_errors(output):
        if (output / JOURNAL).is_file():
            studies.open_study(output, settings.setup(space), settings.resume, settings.objectives)


def _plan(settings: SearchSettings, trials: int) -> Plan:
    return make_plan(
        current_machine(),
        trials,
        settings.concurrency,
        settings.cpus_per_trial,
        settings.gpus_per_trial,
        settings.peak_bytes,
    )


class _Run:
    """One Tune run for the trials that a study misses."""

    def __init__(
        self,
        objective: Objective,
        space: Space,
        settings: SearchSettings,
        output: Path,
        study: optuna.Study,
        stop: StopRequest,
        listeners: tuple[Listener, ...],
        began: float,
    ) -> None:
        from optuna.trial import TrialState

        from kdsearch.search import study as studies
        from kdsearch.search.checkpoints import Checkpoints
        from kdsearch.search.events import Events
        from kdsearch.search.record import TrialTable

        self.objective, self.space, self.settings, self.output = objective, space, settings, output
        self.study, self.stop, self.began = study, stop, began
        self.shared: Any = None  # the objective in the object store, from where each machine fetches it once
        finished = len(study.get_trials(deepcopy=False, states=studies.FINISHED))
        self.missing = max(0, settings.trials - finished)
        self.finished_before = finished
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        self.cut_off = _fit_to_go_on(study, running, self.missing)
        self.missing = max(0, settings.trials - len(study.get_trials(deepcopy=False, states=studies.FINISHED)))
        first = [*(settings.warm.points if settings.warm is not None else ()), *space.known]
        studies.enqueue(study, first[: settings.trials])
        self.checkpoints = Checkpoints(output / STATES)
        self.checkpoints.keep_only({t.number for t in self.cut_off})
        self.table = TrialTable(study, output / TRIALS, space.fixed)
        self.events = Events(self.checkpoints, self.table, stop, listeners, settings.trial_timeout_s)
        self.table.update(now=True)

    def start(self, plan: Plan) -> None:
        """Run the missing trials: first side by side, then, one at a time, those that used up the memory."""
        from kdsearch.search.study import ALONE

        self.events.tell("on_search_start", self.settings.trials, self.finished_before, plan.concurrency)
        side_by_side = [t for t in self.cut_off if ALONE not in t.user_attrs]
        wanted = self.missing - (len(self.cut_off) - len(side_by_side))
        if wanted > 0:
            self._tune(plan, wanted, side_by_side)
        left = self._alone()
        if left and self.stop.reason is None:
            self.events.clear_workers()
            whole = 1.0 if 0 < plan.gpus < 1 else plan.gpus
            self._tune(Plan(plan.cpus, whole, 1), len(left), left, alone=True)

    def _alone(self) -> list[Any]:
        from optuna.trial import TrialState

        from kdsearch.search.study import ALONE

        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [t for t in running if ALONE in t.user_attrs]

    def _tune(self, plan: Plan, wanted: int, cut_off: list[Any], alone: bool = False) -> None:
        import ray
        from ray import tune

        from kdsearch.search.searcher import StudySearcher
        from kdsearch.search.trainable import TrialActor

        settings = self.settings
        searcher = StudySearcher(
            self.study,
            self.space,
            settings.sampler,
            settings.seed,
            settings.epochs,
            wanted,
            cut_off,
            self.events.on_end,
            None if alone else self.events.postponed,
            stops_early=settings.scheduler != "none",
            prior=settings.warm.prior if settings.warm is not None else (),
        )
        self.events.begin(searcher, cut_off)
        if self.shared is None:
            self.shared = ray.put(self.objective)
        trainable = tune.with_parameters(
            TrialActor,
            objective=[self.shared],
            epochs=settings.epochs,
            cpus=plan.cpus,
            gpus=plan.gpus,
            memory_fraction=plan.memory_fraction,
            checkpoint_every_s=settings.checkpoint_every_s,
            together=(uuid.uuid4().hex, plan.concurrency),
        )
        storage = self.output / ".tune"
        shutil.rmtree(storage, ignore_errors=True)
        # A cluster may grow while the search runs: there only what fits limits it.
        elastic = settings.address is not None and settings.concurrency == "auto" and not alone
        try:
            tune.run(
                trainable,
                name="search",
                storage_path=str(storage),
                num_samples=wanted,
                search_alg=searcher,
                scheduler=self._scheduler(),
                stop=self.events.stopper,
                resources_per_trial={"cpu": plan.cpus, "gpu": plan.gpus},
                max_concurrent_trials=None if elastic else plan.concurrency,
                reuse_actors=True,
                max_failures=0 if alone else _WORKER_DEATHS,
                raise_on_failed_trial=False,
                callbacks=[self.events.callback],
                trial_dirname_creator=lambda trial: str(trial.trial_id),
                verbose=0,
            )
        finally:
            shutil.rmtree(storage, ignore_errors=True)

    def _scheduler(self) -> Any:
        """With the books of all trials so far."""
        from optuna.trial import TrialState

        from kdsearch.search import study as studies
        from kdsearch.search.pareto import make_pareto
        from kdsearch.search.scheduler import make_scheduler

        settings = self.settings
        how = (settings.scheduler, settings.epochs, settings.grace, settings.reduction)
        known = self.study.get_trials(deepcopy=False, states=(*studies.FINISHED, TrialState.RUNNING))
        if settings.objectives > 1:
            costs = [(t.number, studies.progress(t), t.user_attrs.get("cost")) for t in known]
            return make_pareto(*how, costs)
        return make_scheduler(*how, settings.seed, [(t.number, studies.progress(t)) for t in known])

    def result(self) -> SearchResult:
        """Close the books."""
        from optuna.trial import TrialState

        from kdsearch.search.record import ranked
        from kdsearch.search.study import outcome

        trials = self.study.get_trials(deepcopy=False)
        states = [t.state for t in trials]
        unfinished = states.count(TrialState.RUNNING)
        finished = sum(s.is_finished() for s in states)
        result = SearchResult(
            output=self.output,
            wanted=self.settings.trials,
            completed=states.count(TrialState.COMPLETE),
            stopped=states.count(TrialState.PRUNED),
            failed=states.count(TrialState.FAIL),
            unfinished=unfinished,
            reason=self.stop.reason if finished < self.settings.trials else None,
            seconds=time.monotonic() - self.began,
            trial_seconds=sum(outcome(t).get("seconds", 0.0) for t in trials),
            ranked=ranked(self.study, self.space.fixed),
        )
        self.table.update(now=True)
        if not unfinished:
            self.checkpoints.clear()
        self.events.tell("on_search_end", result)
        return result


def _fit_to_go_on(study: optuna.Study, running: list[Any], missing: int) -> list[Any]:
    """The trials to carry on; those beyond what is wanted, and those that never get further, are failed."""
    import optuna
    from optuna.trial import TrialState

    from kdsearch.search.study import finish, progress

    able: list[tuple[Any, list[int]]] = []
    for frozen in running:
        epoch = max(progress(frozen), default=0)
        starts = [*frozen.user_attrs.get("resumed_at", []), epoch]
        if starts[-_ATTEMPTS:] == [epoch] * _ATTEMPTS:
            trial = optuna.Trial(study, frozen._trial_id)
            finish(
                trial, TrialState.FAIL, None, f"the search died {_ATTEMPTS} times in epoch {epoch + 1} of this trial"
            )
            missing -= 1  # it has ended
        else:
            able.append((frozen, starts))
    kept = able[: max(0, missing)]
    for frozen, _ in able[len(kept) :]:
        trial = optuna.Trial(study, frozen._trial_id)
        finish(trial, TrialState.FAIL, None, "cut off, and fewer trials were wanted on resuming")
    for frozen, starts in kept:
        optuna.Trial(study, frozen._trial_id).set_user_attr("resumed_at", starts)
    return [frozen for frozen, _ in kept]
