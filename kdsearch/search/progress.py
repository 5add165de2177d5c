"""What a search says while it runs: a line an event, and on a terminal a live table of the trials under way."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from kdsearch.search.report import Listener, Report

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    from kdsearch.search.runner import SearchResult

__all__ = ["Progress", "span", "summary"]

# A trial's row is drawn at most so often; epochs may come much faster.
_REDRAW_S = 0.25


class Progress(Listener):
    """Prints the events of a search.

    Args:
        stream: where to; default stdout.
        live: draw the table; default: where the stream is a terminal.
        epochs: of a full trial, for the table.
        best: score and number of the best trial before, for a search that is carried on.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        live: bool | None = None,
        epochs: int | None = None,
        best: tuple[float, int] | None = None,
    ) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._wants_live = self._stream.isatty() if live is None else live
        self._epochs = epochs
        self._began = time.monotonic()
        self._console: Console | None = None
        self._live: Live | None = None
        self._running: dict[int, tuple[Mapping[str, Any], Report | None]] = {}
        self._best = best
        self._wanted = self._ended = 0
        self._drawn = 0.0

    def on_search_start(self, wanted: int, finished: int, concurrency: int) -> None:
        """The first line."""
        self._wanted, self._ended = wanted, finished
        done = f", {finished} of them done" if finished else ""
        self._line(f"search of {wanted} trials{done}, {concurrency} at once")
        if self._wants_live:
            from rich.console import Console
            from rich.live import Live

            self._console = Console(file=self._stream, force_terminal=True)
            self._live = Live(self._table(), console=self._console, auto_refresh=False, transient=True)
            self._live.start()

    def on_trial_start(self, number: int, params: Mapping[str, Any], epoch: int) -> None:
        """A line for a trial that starts or goes on."""
        self._running[number] = (params, None)
        goes_on = f" goes on after epoch {epoch}" if epoch else " started"
        self._line(f"trial {number}{goes_on}: {_shown(params)}")

    def on_epoch(self, number: int, params: Mapping[str, Any], report: Report) -> None:
        """Only the table shows epochs."""
        self._running[number] = (params, report)
        if time.monotonic() - self._drawn >= _REDRAW_S:
            self._draw()

    def on_trial_end(
        self,
        number: int,
        state: str,
        params: Mapping[str, Any],
        best_score: float | None,
        best_validation: Mapping[str, float],
        report: Report | None = None,
    ) -> None:
        """A line for how a trial ended."""
        self._running.pop(number, None)
        self._ended += 1
        epochs = report.epoch if report is not None else 0
        after = f"after {epochs} epoch{'' if epochs == 1 else 's'}"
        if state == "FAIL" or best_score is None:
            reason = report.error if report is not None and report.error else "no epoch gave a finite score"
            self._line(f"trial {number} failed {after}: {reason}")
            return
        verb = "finished" if state == "COMPLETE" else "stopped"
        news = ""
        if self._best is None or best_score < self._best[0]:
            self._best = (best_score, number)
            news = ", the best so far"
        self._line(f"trial {number} {verb} {after}: score {best_score:.4g}{news}")

    def on_message(self, text: str) -> None:
        """A line as it is."""
        self._line(text)

    def on_search_end(self, result: SearchResult) -> None:
        """Take the table away and sum up."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._line(summary(result))

    def _line(self, text: str) -> None:
        passed = int(time.monotonic() - self._began)
        line = f"[{passed // 60:3d}:{passed % 60:02d}] {text}"
        if self._live is not None and self._console is not None:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
            self._draw()
        else:
            print(line, file=self._stream, flush=True)

    def _draw(self) -> None:
        if self._live is not None:
            self._drawn = time.monotonic()
            self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        from rich.table import Table

        best = f"best {self._best[0]:.4g} (trial {self._best[1]})" if self._best else "no score yet"
        table = Table(title=f"{self._ended} of {self._wanted} trials, {best}", title_justify="left", title_style="bold")
        for name in ("trial", "epoch", "score", "best", "hyperparameters"):
            table.add_column(name, justify="left" if name == "hyperparameters" else "right", no_wrap=True)
        for number, (params, report) in sorted(self._running.items()):
            of = f"/{self._epochs}" if self._epochs else ""
            table.add_row(
                str(number),
                f"{report.epoch if report else 0}{of}",
                _number(report.score) if report else "",
                _number(report.best_score) if report else "",
                _shown(params),
            )
        return table


def summary(result: SearchResult) -> str:
    """A search in one line."""
    ended = f"{result.finished} of {result.wanted} trials ended"
    how = f"{result.completed} complete, {result.stopped} stopped early, {result.failed} failed"
    best = f"; best score {result.ranked[0].score:.4g} (trial {result.ranked[0].number})" if result.ranked else ""
    cut = f" ({result.reason}; --resume carries on)" if result.reason else ""
    return f"search over{cut}: {ended} ({how}) in {span(result.seconds)}{best}"


def span(seconds: float) -> str:
    """A span of time for people: ``42 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _shown(params: Mapping[str, Any]) -> str:
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in params.items()
    )


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"
