"""The Optuna journal of a search: the single record of truth, opened, repaired and written here.

A trial ends in two steps, so that a crash between them loses nothing: its outcome is written as an attribute, then
its state is told. A trial found RUNNING with an outcome is told it when the study is opened again.
"""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from kdsearch.contents import JOURNAL
from kdsearch.errors import UserError
from kdsearch.search.report import Report

__all__ = [
    "ALONE",
    "FINISHED",
    "close_decided",
    "finish",
    "open_study",
    "outcome",
    "progress",
    "read_study",
    "report_score",
    "setup_of",
]

STUDY = "kdsearch"
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
# Attribute of a trial that used up the memory and is to be tried once more, with nothing beside it: why.
ALONE = "alone"
_OUTCOME = "outcome"
_SETUP = "setup"
# A study of two objectives may have no intermediate values: there each epoch's score is an attribute of the trial.
_SCORE = "score@"


# What has changed where the fingerprint of something has.
_DIGESTS = {
    "data": "readings, graph or declaration differ",
    "teacher": "the teacher's training differs",
    "start": "the training of the network to prune differs",
    "space": "ranges or fixed values differ",
}


def open_study(output: Path, setup: Mapping[str, Any], resume: bool, objectives: int = 1) -> optuna.Study:
    """Open the study of an output folder, which the caller holds the lock of.

    Args:
        output: the folder.
        setup: what makes two searches the same; kept in the study and compared on resume.
        resume: whether a study may be there.
        objectives: how many values a complete trial has: the score, and perhaps a cost.

    Raises:
        UserError: a study is there and ``resume`` is not set, it was searched with another setup, or is damaged.
    """
    path = output / JOURNAL
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    exists = path.is_file() and _repair(path)
    if exists and not resume:
        raise UserError(f"{output} already holds a search: carry on with --resume, or give another --output")
    storage = _storage(path)
    setup = json.loads(json.dumps(dict(setup)))
    try:
        study = optuna.load_study(storage=storage, study_name=STUDY)
    except KeyError:  # nothing there, or killed before its first record
        study = optuna.create_study(storage=storage, study_name=STUDY, directions=["minimize"] * objectives)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # What optuna-dashboard writes along its axes.
            study.set_metric_names(["validation MAE (mph)", str(setup.get("cost", "cost"))][:objectives])
    before = study.user_attrs.get(_SETUP)
    if before is None:
        study.set_user_attr(_SETUP, setup)
        for name in ("dataset", "loss"):
            if name in setup:
                study.set_user_attr(name, setup[name])
    elif before != setup:
        names = [n for n in {**before, **setup} if before.get(n) != setup.get(n)]
        name = names[0]
        digest = f" ({_DIGESTS[name]}, or the version of kdsearch)" if name in _DIGESTS else ""
        raise UserError(
            f"{output} was searched with {name} = {before.get(name)!r}, not {setup.get(name)!r}{digest}: "
            "resume with the same settings, or give another --output"
        )
    return study


def read_study(output: Path) -> optuna.Study:
    """The study of a finished or running search, to be read only.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = output / JOURNAL
    if not path.is_file():
        raise UserError(f"{output} holds no search: there is no {JOURNAL}")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        return optuna.load_study(storage=_storage(path), study_name=STUDY)
    except KeyError as error:
        raise UserError(f"{path} holds no study of kdsearch") from error


def setup_of(output: Path) -> dict[str, Any]:
    """What the search in a folder began with; empty if there is none, or none that can be read yet."""
    try:
        found: dict[str, Any] = read_study(output).user_attrs.get(_SETUP, {})
    except (UserError, ValueError, OSError):  # opening it to write mends what was cut off, or says what is wrong
        return {}
    return found


def finish(trial: optuna.Trial, state: TrialState, report: Report | None, error: str | None = None) -> None:
    """End a trial: outcome first, then the last value, then the state.

    Args:
        trial: a running trial.
        state: COMPLETE, PRUNED or FAIL.
        report: its last epoch, if it had one.
        error: why it failed.
    """
    best = report.best_score if report is not None and math.isfinite(report.best_score) else None
    trial.set_user_attr(
        _OUTCOME,
        {
            "state": state.name,
            "best_score": best,
            "best_epoch": report.best_epoch if report else 0,
            "validation": dict(report.best_validation) if report else {},
            "epochs": report.epoch if report else 0,
            "seconds": report.total_seconds if report else 0.0,
            "cost": report.cost if report else None,
            "error": error,
            "traceback": report.traceback if report else None,
        },
    )
    known = progress(trial.study._storage.get_trial(trial._trial_id))
    if report is not None and best is not None and state is not TrialState.FAIL and report.epoch not in known:
        report_score(trial, best, report.epoch)
    _tell(trial.study, trial, state, best, report.cost if report else None)


def _tell(study: optuna.Study, trial: optuna.Trial, state: TrialState, best: float | None, cost: float | None) -> None:
    values: Any = None
    if state is TrialState.COMPLETE:
        values = best if len(study.directions) == 1 else [best, cost]
    study.tell(trial, values, state=state)


def report_score(trial: optuna.Trial, score: float, epoch: int) -> None:
    """Keep the best score so far under an epoch."""
    if len(trial.study.directions) == 1:
        trial.report(score, epoch)
    else:
        trial.set_user_attr(f"{_SCORE}{epoch}", score)


def progress(trial: FrozenTrial) -> dict[int, float]:
    """Best score so far after each epoch that was reported."""
    kept = {int(name[len(_SCORE) :]): value for name, value in trial.user_attrs.items() if name.startswith(_SCORE)}
    return {**trial.intermediate_values, **kept}


def outcome(trial: FrozenTrial) -> dict[str, Any]:
    """What :func:`finish` wrote of a trial; empty before."""
    found: dict[str, Any] = trial.user_attrs.get(_OUTCOME, {})
    return found


def close_decided(study: optuna.Study) -> None:
    """Tell the state of every trial whose outcome was written when the driver died."""
    for frozen in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        decided = outcome(frozen)
        if not decided:
            continue
        state = TrialState[decided["state"]]
        value = decided["best_score"]
        trial = optuna.Trial(study, frozen._trial_id)
        if value is not None and state is not TrialState.FAIL and decided["epochs"] not in progress(frozen):
            report_score(trial, value, decided["epochs"])
        _tell(study, trial, state, value, decided.get("cost"))


def enqueue(study: optuna.Study, points: Sequence[Mapping[str, Any]]) -> None:
    """Queue the known points that the study has not seen."""
    for point in points:
        study.enqueue_trial(dict(point), user_attrs={"known": True}, skip_if_exists=True)


def _storage(path: Path) -> JournalStorage:
    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged and cannot be read ({type(error).__name__}); give another --output"
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be opened: {error.strerror or error}") from error


def _repair(path: Path) -> bool:
    """Make a journal fit to be written again after its writer was killed; False where it holds nothing.

    A torn last line would swallow the next record, and a lock left behind would cost the first write 30 seconds.
    Only the holder of the output folder's lock may call this.
    """
    with contextlib.suppress(FileNotFoundError):
        Path(f"{path}.lock").unlink()
    try:
        with path.open("rb+") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            last = content[:whole].rstrip(b"\n").rsplit(b"\n", 1)[-1]
            if last:
                try:
                    json.loads(last)
                except ValueError:
                    whole -= len(last) + 1
            if whole < len(content):
                file.truncate(whole)
            return whole > 0
    except OSError as error:
        raise UserError(f"{path} cannot be opened: {error.strerror or error}") from error
