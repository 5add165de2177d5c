"""The live view of a search: one TensorBoard run a trial, and an HParams tab with the best value of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kdsearch.results.events import HParams, Run

if TYPE_CHECKING:
    from kdsearch.training.fit import EpochReport

__all__ = ["TensorBoard", "tag_of"]

# Parts of a loss whose name says too little; any other part is shown as "loss/<its name>".
_TAGS = {"teacher_share": "attention to teacher"}
_METRICS = {"best/score": "best validation score (mph)"}


def tag_of(figure: str) -> str:
    """The readable form of a figure's name: ``mae_15`` becomes ``mae 15 min``."""
    name, _, minutes = figure.rpartition("_")
    return f"{name} {minutes} min" if name and minutes.isdigit() else figure


class TensorBoard:
    """Writes a search's progress to ``<output>/tensorboard``; each call is on disk when it returns.

    A trial that is carried on after ``--resume`` goes on in its own run; epochs reported again replace the first ones.
    A full disk or a folder gone ends the display, not the search: the writer then falls silent and `broken` says why.

    Args:
        output: the folder of the search.
        finished: trials that had ended before, for a search carried on.
        best_score: the best of them, None if there is none.

    Attributes:
        folder: where the runs are; what ``tensorboard --logdir`` wants.
        broken: why nothing is written any more, None while all is well.
    """

    def __init__(self, output: Path, finished: int = 0, best_score: float | None = None) -> None:
        self.folder = output / "tensorboard"
        self.broken: str | None = None
        self._runs: dict[int, Run] = {}
        self._best: dict[int, float] = {}
        self._epoch: dict[int, int] = {}
        self._search: Run | None = None
        self._best_of_all = math.inf if best_score is None else best_score
        self._finished = finished

    def on_epoch(self, trial_number: int, params: HParams, report: EpochReport) -> None:
        """Write what one epoch of a trial reported."""
        values = {"validation/score": report.score, "learning rate": report.learning_rate}
        values["seconds an epoch"] = report.seconds
        values.update({f"validation/{tag_of(name)}": value for name, value in report.validation.items()})
        values.update({_TAGS.get(name, f"loss/{name}"): value for name, value in report.losses.items()})
        try:
            run = self._run(trial_number, params, report.epoch)
            if report.score < self._best[trial_number]:
                self._best[trial_number] = report.score
                values["best/score"] = report.score
            self._epoch[trial_number] = report.epoch
            run.scalars(values, report.epoch)
        except OSError as error:
            self._give_up(error)

    def on_trial_end(
        self,
        trial_number: int,
        state: str,
        params: HParams,
        best_score: float | None,
        best_validation: Mapping[str, float] | None,
    ) -> None:
        """Write the end of a trial: its best epoch's figures and, in the HParams tab, how it ended.

        Args:
            trial_number: as in the study.
            state: Optuna's: a trial that is not "FAIL" succeeded.
            params: its hyperparameters.
            best_score: of its best epoch, None or not finite if it has none.
            best_validation: the nine figures of that epoch.
        """
        values = {f"best/{tag_of(name)}": value for name, value in (best_validation or {}).items()}
        if best_score is not None:
            values["best/score"] = best_score
        # The HParams tab cannot show a figure that is not finite.
        values = {tag: value for tag, value in values.items() if math.isfinite(value)}
        try:
            run = self._run(trial_number, params, None)
            if values:
                run.scalars(values, self._epoch.pop(trial_number, 0))
            run.end(succeeded=state.upper() not in ("FAIL", "FAILED", "ERROR"))
            run.close()
            del self._runs[trial_number], self._best[trial_number]
            self._finished += 1
            if best_score is not None and best_score < self._best_of_all:
                self._best_of_all = best_score
            if math.isfinite(self._best_of_all):
                self._of_search(params).scalars({"search/best score": self._best_of_all}, self._finished)
        except OSError as error:
            self._give_up(error)

    def on_search_end(self, *_: object, **__: object) -> None:
        """Close all files."""
        for run in self._runs.values():
            run.close()
        self._runs.clear()
        if self._search is not None:
            self._search.close()
            self._search = None

    def _run(self, number: int, params: HParams, epoch: int | None) -> Run:
        if self.broken is not None:
            raise OSError(self.broken)
        if number not in self._runs:
            self._of_search(params)
            name = f"trial-{number:04d}"
            earlier = [path for path in self.folder.glob(f"{name}*") if path.name.split(" ")[0] == name]
            described = " ".join([name, *(f"{key}={_short(value)}" for key, value in params.items())])[:120].rstrip()
            run = Run(earlier[0] if earlier else self.folder / described.replace("/", "_"))
            # Of a trial carried on, the best so far stands in an earlier file: only its end can tell.
            self._best[number] = -math.inf if run.continued else math.inf
            if run.continued and epoch is not None:
                run.restart(epoch)
            if not run.continued:
                run.start(name, params)
            self._runs[number] = run
        return self._runs[number]

    def _of_search(self, params: HParams) -> Run:
        if self._search is None:
            self._search = Run(self.folder / "search")
            if not self._search.continued:
                self._search.experiment(params, _METRICS)
        return self._search

    def _give_up(self, error: OSError) -> None:
        if self.broken is None:
            self.broken = str(error)
            self.on_search_end()


def _short(value: bool | int | float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
