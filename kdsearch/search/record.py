"""What others read of a study: the table of trials and the ranking of configurations."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from kdsearch.atomic import atomic_write
from kdsearch.search.study import outcome, progress

__all__ = ["Ranked", "TrialTable", "ranked", "trials_frame", "write_trials"]


@dataclass(frozen=True)
class Ranked:
    """A configuration and the best a trial of it did.

    Attributes:
        number: of the trial.
        params: searched and fixed hyperparameters.
        score: best validation score.
        state: ``COMPLETE``, ``PRUNED`` or ``RUNNING`` (cut off by a time budget).
        epoch: of the best score.
        validation: figures of that epoch; empty for a trial that was cut off.
        cost: the second objective, where the search has one and the trial came so far.
    """

    number: int
    params: Mapping[str, Any]
    score: float
    state: str
    epoch: int
    validation: Mapping[str, float]
    cost: float | None = None


def ranked(study: optuna.Study, fixed: Mapping[str, Any] | None = None) -> list[Ranked]:
    """All configurations that reached a finite score, best first, none twice; FAILED trials are left out.

    A score only improves with more epochs, so that of a stopped trial can be compared with that of a complete one:
    what it reached early it would have reached at full length.
    """
    found: list[Ranked] = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)):
        ended = outcome(trial)
        values = progress(trial)
        score = ended.get("best_score") if ended else min(filter(math.isfinite, values.values()), default=None)
        if score is None:
            continue
        epoch = ended.get("best_epoch") or min(e for e, v in values.items() if v == score)
        found.append(
            Ranked(
                trial.number,
                {**trial.params, **(fixed or {})},
                float(score),
                trial.state.name,
                int(epoch),
                ended.get("validation", {}),
                ended.get("cost"),
            )
        )
    found.sort(key=lambda r: (r.score, r.state != "COMPLETE", r.number))
    kept: list[Ranked] = []
    for item in found:
        if all(item.params != other.params for other in kept):
            kept.append(item)
    return kept


def trials_frame(study: optuna.Study, fixed: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """A row a trial; the columns are described in the README."""
    rows = [_row(t, fixed or {}) for t in study.get_trials(deepcopy=False) if t.state is not TrialState.WAITING]
    frame = pd.DataFrame(rows, columns=None if rows else list(_COLUMNS))
    for name, kind in _COLUMNS.items():
        frame[name] = frame[name].astype(kind)  # so that an all-missing column keeps its type
    return frame


_COLUMNS: dict[str, Any] = {
    "number": "int64",
    "state": "str",
    "score": "float64",
    "epochs": "int64",
    "best_epoch": "int64",
    "seconds": "float64",
    "seed": "Int64",
    "started": "datetime64[us, UTC]",
    "worker": "Int64",
    "error": "object",
}


def _row(trial: FrozenTrial, fixed: Mapping[str, Any]) -> dict[str, Any]:
    ended = outcome(trial)
    values = progress(trial)
    best = ended.get("best_score") if ended else min(values.values(), default=None)
    return {
        "number": trial.number,
        "state": trial.state.name,
        "score": math.nan if best is None else best,
        "epochs": ended.get("epochs", max(values, default=0)),
        "best_epoch": ended.get("best_epoch", min((e for e, v in values.items() if v == best), default=0)),
        "seconds": ended.get("seconds", math.nan),
        "seed": trial.user_attrs.get("seed"),
        "started": None if trial.datetime_start is None else trial.datetime_start.astimezone(UTC),
        "worker": trial.user_attrs.get("worker"),
        "error": ended.get("error"),
        **({"cost": ended["cost"]} if ended.get("cost") is not None else {}),
        **{f"params.{name}": value for name, value in {**trial.params, **fixed}.items()},
        **{f"val_{name}": value for name, value in ended.get("validation", {}).items()},
    }


def write_trials(study: optuna.Study, path: Path, fixed: Mapping[str, Any] | None = None) -> None:
    """Write the table so that a reader finds the old one or the new one, never a part."""
    with atomic_write(path, sync=False) as temporary:
        trials_frame(study, fixed).to_parquet(temporary, index=False)


class TrialTable:
    """Keeps the table of a running search fresh, spending at most a twentieth of the time on it."""

    def __init__(self, study: optuna.Study, path: Path, fixed: Mapping[str, Any]) -> None:
        self._study, self._path, self._fixed = study, path, fixed
        self._next = 0.0

    def update(self, now: bool = False) -> None:
        """Write the table, unless the last time was just before."""
        began = time.monotonic()
        if now or began >= self._next:
            write_trials(self._study, self._path, self._fixed)
            ended = time.monotonic()
            self._next = ended + 20 * (ended - began)
