"""Optuna as Tune's search algorithm, with the states that Ray's own adapter does not tell.

Ray's ``OptunaSearch`` calls a trial that the scheduler stopped COMPLETE, leaves one with a NaN RUNNING for ever and
keeps a second copy of the study's state. This one keeps no state but the journal.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, QMCSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from kdsearch.search.prior import WithPrior
from kdsearch.search.recent import RecentTPE
from kdsearch.search.report import Report
from kdsearch.search.space import Parameter, Space
from kdsearch.search.stopped import WithStopped
from kdsearch.search.study import ALONE, finish, progress, report_score

__all__ = ["StudySearcher"]

# These have no state but the study's trials, so each suggestion can have its own seed.
_STATELESS = ("tpe", "random", "gp")
# Trials drawn at random before the Gaussian process is asked.
_GP_STARTUP = 8
# With early stopping one suggestion in so many is drawn at random whatever is known, as by BOHB (Falkner et al. 2018):
# a bad one costs little, and a model that has seen a few good trials looks nowhere else.
_RANDOM_EVERY = 3
_MODELS = ("tpe", "gp")

OnEnd = Callable[[int, TrialState, Mapping[str, Any], Report | None, str | None], None]


def make_sampler(name: str, seed: int) -> BaseSampler:
    """A seeded sampler; TPE is multivariate and counts running trials (``constant_liar``), as Optuna 5 has it."""
    if name == "tpe":
        return RecentTPE(seed=seed)
    if name == "random":
        return RandomSampler(seed=seed)
    if name == "gp":
        return WithStopped(GPSampler(seed=seed, n_startup_trials=_GP_STARTUP), seed)
    if name == "cmaes":
        return CmaEsSampler(seed=seed, warn_independent_sampling=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False, warn_asynchronous_seeding=False)


class StudySearcher(Searcher):
    """Hands out trials of a study: those cut off by a crash first, then queued points, then new suggestions.

    Args:
        study: the journal's study.
        space: what is searched.
        sampler: one of :data:`kdsearch.search.choices.SAMPLERS`.
        seed: of the sampler.
        epochs: of a full trial; one that got there is COMPLETE.
        wanted: trials to hand out.
        cut_off: RUNNING trials to carry on, under their own numbers.
        on_end: told of each trial that ends.
        stops_early: whether bad trials are stopped, so that a share of random ones is cheap.
        prior: trials of another search for TPE, see :class:`kdsearch.search.prior.WithPrior`.
        on_postponed: told the number of each trial that used up the memory, and is left RUNNING to be tried once more
            alone; None where they are alone already: then it has failed.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        sampler: str,
        seed: int,
        epochs: int,
        wanted: int,
        cut_off: Sequence[FrozenTrial],
        on_end: OnEnd,
        on_postponed: Callable[[int, str], None] | None = None,
        stops_early: bool = False,
        prior: Sequence[tuple[Mapping[str, Any], float]] = (),
    ) -> None:
        super().__init__(metric="score", mode="min")
        self._explores = stops_early and sampler in _MODELS
        self.study = study
        self.stopping = False
        self._space, self._sampler, self._seed, self._epochs = space, sampler, seed, epochs
        self._wanted, self._given = wanted, 0
        self._cut_off = list(cut_off)
        self._on_end, self._on_postponed, self._prior = on_end, on_postponed, list(prior)
        self._given_up: dict[str, str] = {}
        self._model: Any = None
        self._live: dict[str, optuna.Trial] = {}
        self._reports: dict[str, Report] = {}
        self._told: dict[str, set[int]] = {}
        if sampler not in _STATELESS:
            study.sampler = make_sampler(sampler, seed)

    def suggest(self, trial_id: str) -> Any:
        """The next trial's config: its number, hyperparameters and seed."""
        if self.stopping or self._given >= self._wanted:
            return Searcher.FINISHED
        if self._sampler in _STATELESS:
            # Seeded by the number of trials, so that a suggestion depends on the study and not on how often the
            # search was interrupted; one seed for all would repeat the first draws after each resume. Those that wait
            # do not count: the sampler fills what they lack.
            count = sum(t.state is not TrialState.WAITING for t in self.study.get_trials(deepcopy=False))
            explores = self._explores and count % _RANDOM_EVERY == _RANDOM_EVERY - 1
            sampler = make_sampler("random" if explores else self._sampler, _mixed(self._seed, count))
            if not explores:
                if self._model is not None and hasattr(sampler, "_search_space"):
                    # What all trials have in common: kept, for it is found anew from all of them where it is missing.
                    sampler._search_space = self._model._search_space
                self._model = sampler
            self.study.sampler = WithPrior(sampler, self._prior) if self._prior and not explores else sampler
        frozen = self._cut_off.pop(0) if self._cut_off else None
        trial = optuna.Trial(self.study, frozen._trial_id) if frozen else self.study.ask()
        params = {p.name: _suggest(trial, p) for p in self._space.parameters}
        trial.set_user_attr("tune_id", trial_id)
        if frozen is None:
            trial.set_user_attr("seed", self._seed)
        self._given += 1
        self._live[trial_id] = trial
        self._told[trial_id] = set(progress(frozen)) if frozen else set()
        return {"number": trial.number, "params": self._space.full(params), "seed": self._seed}

    def runs_in(self, trial_id: str, worker: int) -> None:
        """Keep which worker a trial runs in; one that goes on elsewhere counts there."""
        trial = self._live.get(trial_id)
        if trial is not None and trial.user_attrs.get("worker") != worker:
            trial.set_user_attr("worker", worker)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Report the best score so far under the epoch; an epoch repeated after a crash is not reported again."""
        trial, report = self._live.get(trial_id), result["report"]
        if trial is None:
            return
        self._reports[trial_id] = report
        if report.cost is not None and trial.user_attrs.get("cost") != report.cost:
            trial.set_user_attr("cost", report.cost)
        if math.isfinite(report.best_score) and report.epoch not in self._told[trial_id]:
            self._told[trial_id].add(report.epoch)
            report_score(trial, report.best_score, report.epoch)

    def give_up(self, trial_id: str, reason: str) -> None:
        """The trial's worker is about to be killed, and not to be tried again."""
        self._given_up[trial_id] = reason

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Give the trial its state. Events of trials that have one are ignored, as are deaths while stopping."""
        trial = self._live.get(trial_id)
        if trial is None or (self.stopping and (error or not result)):
            return
        del self._live[trial_id]
        report = result["report"] if result else self._reports.get(trial_id)
        reason = self._given_up.pop(trial_id, None)
        self._told.pop(trial_id, None)
        short = reason is None and (error or not result or (report is not None and report.out_of_memory))
        if short and self._on_postponed is not None:
            # A worker that is killed again and again may be the largest process of a machine without memory.
            why = report.error if result and report is not None and report.error else "its worker died"
            trial.set_user_attr(ALONE, why)
            self._reports.pop(trial_id, None)
            self._on_postponed(trial.number, why)
            return
        if reason is not None:
            state = TrialState.FAIL
        elif error or not result or report is None:
            state, reason = TrialState.FAIL, "its worker died"
        elif report.error is not None:
            state, reason = TrialState.FAIL, report.error
        elif not math.isfinite(report.score):
            state, reason = TrialState.FAIL, f"diverged in epoch {report.epoch}"
        elif report.epoch >= self._epochs and not math.isfinite(report.best_score):
            state, reason = TrialState.FAIL, f"no epoch of {report.epoch} counted"
        elif report.epoch >= self._epochs and len(self.study.directions) > 1 and report.cost is None:
            state, reason = TrialState.FAIL, "its cost could not be measured"
        else:
            state = TrialState.COMPLETE if report.epoch >= self._epochs else TrialState.PRUNED
        finish(trial, state, report, reason)
        self._reports.pop(trial_id, None)
        self._on_end(trial.number, state, self._space.full(trial.params), report, reason)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the journal holds it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a resumed search opens the journal."""


def _suggest(trial: optuna.Trial, parameter: Parameter) -> Any:
    if parameter.choices:
        return trial.suggest_categorical(parameter.name, list(parameter.choices))
    assert parameter.low is not None
    assert parameter.high is not None
    if parameter.integer:
        return trial.suggest_int(parameter.name, int(parameter.low), int(parameter.high), log=parameter.log)
    return trial.suggest_float(parameter.name, parameter.low, parameter.high, log=parameter.log)


def _mixed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
