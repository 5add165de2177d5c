"""The live view of a search: one TensorBoard run a trial, and an HParams tab with the best value of each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsearch.contents import TENSORBOARD
from kdsearch.results.events import Run
from kdsearch.search.report import Listener, Report

if TYPE_CHECKING:
    from kdsearch.search.runner import SearchResult

__all__ = ["TensorBoard", "tag_of"]

# Parts of a loss whose name says too little; others are shown as "loss/<name>", or have a group.
_TAGS = {"teacher_share": "attention to teacher"}
_METRICS = {"best/score": "best validation score (mph)"}


def tag_of(figure: str) -> str:
    """The readable form of a figure's name: ``mae_15`` becomes ``mae 15 min``."""
    name, _, minutes = figure.rpartition("_")
    return f"{name} {minutes} min" if name and minutes.isdigit() else figure


def _tag_of_part(name: str) -> str:
    return _TAGS.get(name, name if "/" in name else f"loss/{name}")


class TensorBoard(Listener):
    """Writes a search's progress to ``<output>/tensorboard``; each call is on disk when it returns.

    A trial that is carried on after ``--resume`` goes on in its own run; epochs reported again replace the first ones.
    A full disk or a folder gone ends the display, not the search: the writer then falls silent and `broken` says why.

    Args:
        output: the folder of the search.
        best_score: of the trials that ended before, for a search carried on.

    Attributes:
        folder: where the runs are; what ``tensorboard --logdir`` wants.
        broken: why nothing is written any more, None while all is well.
    """

    def __init__(self, output: Path, best_score: float | None = None) -> None:
        self.folder = output / TENSORBOARD
        self.broken: str | None = None
        self._runs: dict[int, Run] = {}
        self._epoch: dict[int, int] = {}
        self._search: Run | None = None
        self._best = math.inf if best_score is None else best_score
        self._finished = 0

    def on_search_start(self, wanted: int, finished: int, concurrency: int) -> None:
        """Count on from the trials that are finished already."""
        self._finished = finished

    def on_epoch(self, number: int, params: Mapping[str, Any], report: Report) -> None:
        """Write what one epoch of a trial reported."""
        values = {"validation/score": report.score, "learning rate": report.learning_rate}
        values["seconds an epoch"] = report.seconds
        values.update({f"validation/{tag_of(name)}": value for name, value in report.validation.items()})
        values.update({_tag_of_part(name): value for name, value in report.losses.items()})
        if math.isfinite(report.best_score):
            values["best/score"] = report.best_score
        try:
            self._of_search(params, report.validation)
            run = self._run(number, params, report.epoch)
            run.scalars(values, report.epoch)
            if report.histograms:
                self._stages(run.folder / "stages", report.histograms)
        except OSError as error:
            self._give_up(error)
        self._epoch[number] = report.epoch

    def on_trial_end(
        self,
        number: int,
        state: str,
        params: Mapping[str, Any],
        best_score: float | None,
        best_validation: Mapping[str, float],
        report: Report | None = None,
    ) -> None:
        """Write the end of a trial: its best epoch's figures and, in the HParams tab, how it ended."""
        values = {f"best/{tag_of(name)}": value for name, value in best_validation.items()}
        if best_score is not None:
            values["best/score"] = best_score
            self._best = min(self._best, best_score)
        # The HParams tab cannot show a figure that is not finite.
        values = {tag: value for tag, value in values.items() if math.isfinite(value)}
        self._finished += 1
        try:
            run = self._run(number, params, None)
            if values:
                run.scalars(values, self._epoch.pop(number, 0))
            run.end(succeeded=state != "FAIL")
            run.close()
            del self._runs[number]
            if math.isfinite(self._best):
                self._of_search(params).scalars({"search/best score": self._best}, self._finished)
        except OSError as error:
            self._give_up(error)

    def on_search_end(self, result: SearchResult | None = None) -> None:
        """Close all files."""
        for run in self._runs.values():
            run.close()
        self._runs.clear()
        if self._search is not None:
            self._search.close()
            self._search = None

    def _run(self, number: int, params: Mapping[str, Any], epoch: int | None) -> Run:
        if self.broken is not None:
            raise OSError(self.broken)
        if number not in self._runs:
            self._of_search(params)
            name = f"trial-{number:04d}"
            earlier = [path for path in self.folder.glob(f"{name}*") if path.name.split(" ")[0] == name]
            described = " ".join([name, *(f"{key}={_short(value)}" for key, value in params.items())])[:120].rstrip()
            run = Run(earlier[0] if earlier else self.folder / described.replace("/", "_"))
            if run.continued and epoch is not None:
                run.restart(epoch)
            if not run.continued:
                run.start(name, params)
            self._runs[number] = run
        return self._runs[number]

    @staticmethod
    def _stages(folder: Path, histograms: Mapping[str, Sequence[tuple[int, Mapping[str, Any]]]]) -> None:
        """What the stages of an epoch pruned by: a run inside the trial's, whose steps are minibatches.

        An epoch may have several stages, and values differ by powers of ten: their logarithms are drawn.
        """
        run = Run(folder)
        if run.continued:
            run.restart(min(step for found in histograms.values() for step, _ in found))
        for name, found in histograms.items():
            for step, values in found:
                if values["limits"]:
                    run.histogram(f"log10 {name}", step, [math.log10(x) for x in values["limits"]], values["counts"])
        run.close()

    def _of_search(self, params: Mapping[str, Any], figures: Iterable[str] = ()) -> Run:
        if self.broken is not None:
            raise OSError(self.broken)
        if self._search is None:
            self._search = Run(self.folder / "search")
            if not self._search.continued:
                maes = {f"best/{tag_of(n)}": f"{tag_of(n)} (mph)" for n in figures if n.startswith("mae_")}
                self._search.experiment(params, {**_METRICS, **maes})
        return self._search

    def _give_up(self, error: OSError) -> None:
        if self.broken is None:
            self.broken = str(error)
            self.on_search_end()


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
