"""What a search says while it runs: a line an event, and on a terminal a live view under the lines."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from kdsearch.search.remaining import Course, Remaining
from kdsearch.search.report import Listener, Report
from kdsearch.search.usage import Usage

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from kdsearch.search.runner import SearchResult

__all__ = ["Progress", "can_redraw", "span", "summary"]

# Times a second that the live view is drawn, by a thread of its own: events only take note.
_DRAWS = 1.0
# Trials under way that are shown one by one, and the width that hyperparameters need.
_ROWS, _WIDE = 12, 72


def can_redraw(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can move its cursor; a dumb one, a pipe and a file get plain lines."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


@dataclass(frozen=True)
class _Work:
    """What is under way outside the trials: in words, since when, and how long it was thought to take at `told`."""

    text: str
    began: float
    told: float
    left: float | None


@dataclass
class _Running:
    """A trial under way: its epochs, those before this run, and wall time when it began here and last reported."""

    params: Mapping[str, Any]
    epoch: int
    before: int
    began: float
    reported: float
    report: Report | None = None

    @property
    def pace(self) -> float:
        """Wall seconds an epoch, start and reporting included; 0 before the first."""
        return (self.reported - self.began) / (self.epoch - self.before) if self.epoch > self.before else 0.0


class Progress(Listener):
    """Prints the events of a search.

    Args:
        stream: where to; default stdout.
        live: keep a view under the lines; default: where the stream is a terminal that can redraw.
        course: of the trials, for the time left; None leaves that out.
        best: score and number of the best trial before, for a search that is carried on.
        verbose: a line an epoch too.
        time_budget_s: the search ends after so long, whatever is left.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        live: bool | None = None,
        course: Course | None = None,
        best: tuple[float, int] | None = None,
        verbose: bool = False,
        time_budget_s: float | None = None,
    ) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._wants_live = can_redraw(self._stream) if live is None else live
        self._course, self._verbose, self._budget = course, verbose, time_budget_s
        self._began = self._search_began = time.monotonic()
        self._console: Console | None = None
        self._live: Live | None = None
        self._usage = Usage()
        self._running: dict[int, _Running] = {}
        self._remaining: Remaining | None = None
        self._ended: Counter[str] = Counter()
        self._best = best
        self._best_figures = ""
        self._wanted = self._finished = 0
        self._searching = False
        self._work: _Work | None = None

    @property
    def shows_stop(self) -> bool:
        """Whether a signal is told here, so that nothing is written into the live view."""
        return self._live is not None

    def on_search_start(self, wanted: int, finished: int, concurrency: int) -> None:
        """The first line."""
        self._wanted, self._finished, self._searching = wanted, finished, True
        self._search_began = time.monotonic()
        if self._course is not None:
            self._remaining = Remaining(self._course, concurrency)
        done = f", {finished} of them done" if finished else ""
        self._line(f"search of {wanted} trials{done}, {concurrency} at once")
        if self._wants_live and self._live is None:
            self._start()

    def on_trial_start(self, number: int, params: Mapping[str, Any], epoch: int) -> None:
        """A line for a trial that starts or goes on."""
        now = time.monotonic()
        self._running[number] = _Running(params, epoch, epoch, now, now)
        goes_on = f" goes on after epoch {epoch}" if epoch else " started"
        self._line(f"trial {number}{goes_on}: {_shown(params)}")

    def on_epoch(self, number: int, params: Mapping[str, Any], report: Report) -> None:
        """A line only if verbose; the view shows epochs when it is next drawn."""
        running = self._running.get(number)
        if running is not None:
            running.epoch, running.report, running.reported = report.epoch, report, time.monotonic()
        if self._verbose:
            parts = " ".join(f"{name}={value:.4g}" for name, value in report.losses.items())
            self._line(
                f"trial {number} epoch {report.epoch}: score {_number(report.score)}, best "
                f"{_number(report.best_score)}, {parts or 'no loss'}, rate {report.learning_rate:.3g}, "
                f"{report.seconds:.2f} s"
            )

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
        running = self._running.pop(number, None)
        self._ended[state] += 1
        epochs = report.epoch if report is not None else 0
        if self._remaining is not None:
            self._remaining.ended(epochs, state == "COMPLETE", running.pace if running is not None else 0.0)
        after = f"after {epochs} epoch{'' if epochs == 1 else 's'}"
        if state == "FAIL" or best_score is None:
            reason = report.error if report is not None and report.error else "no epoch gave a finite score"
            self._line(f"trial {number} failed {after}: {reason}")
            return
        verb = "finished" if state == "COMPLETE" else "stopped"
        news = ""
        if self._best is None or best_score < self._best[0]:
            self._best, self._best_figures = (best_score, number), figures(best_validation)
            if all(best_score < score for score, _, _ in self._under_way(self._running)):
                news = ", the best so far"
        self._line(f"trial {number} {verb} {after}: score {best_score:.4g}{news}")

    def on_message(self, text: str) -> None:
        """A line as it is."""
        self._line(text)

    def on_work(self, text: str | None, left_s: float | None = None) -> None:
        """Show what is under way before or after the trials, on a terminal only: lines tell the rest.

        Args:
            text: in words; None once it has ended.
            left_s: seconds that it will still take, where that is known.
        """
        now = time.monotonic()
        began = now if self._work is None else self._work.began
        self._work = None if text is None else _Work(text, began, now, left_s)
        if text is not None and self._wants_live and self._live is None:
            self._start()

    def on_stop(self, reason: str) -> None:
        """Under a live view the signal's own line would be overwritten, so it is printed here."""
        if reason == "interrupted" and self._live is not None:
            self._line("ending, everything is kept; Ctrl-C once more ends at once")

    def on_search_end(self, result: SearchResult) -> None:
        """Take the view away and sum up."""
        self._searching = False
        self.close()
        self._line(summary(result))

    def close(self) -> None:
        """Take the view away, however the search ended; closing twice does no harm."""
        self._usage.stop()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _start(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=self._stream, force_terminal=True)
        self._live = Live(get_renderable=self._view, console=self._console, refresh_per_second=_DRAWS, transient=True)
        self._live.start()
        # A process that is killed could not bring a hidden cursor back.
        self._console.show_cursor(True)
        self._usage.start()

    def _line(self, text: str) -> None:
        line = f"[{_clock(time.monotonic() - self._began)}] {text}"
        if self._live is not None and self._console is not None:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=self._stream, flush=True)

    def _left(self, running: Mapping[int, _Running]) -> str:
        """The time left in words; empty while nothing is known."""
        if self._remaining is None:
            return ""
        waiting = max(0, self._wanted - self._finished - self._ended.total() - len(running))
        seconds = self._remaining.seconds(waiting, [(r.epoch, r.pace) for r in running.values()])
        if seconds is None:
            return ""
        if self._budget is not None:
            seconds = min(seconds, max(0.0, self._budget - (time.monotonic() - self._search_began)))
        return f", about {span(seconds)} left"

    @staticmethod
    def _still(work: _Work) -> str:
        """The time left of what is under way in words; empty while nothing is known."""
        if work.left is None:
            return ""
        return f", about {span(max(0.0, work.left - (time.monotonic() - work.told)))} left"

    @staticmethod
    def _under_way(running: Mapping[int, _Running]) -> list[tuple[float, int, str]]:
        """Best score, number and figures of the trials that have a score already."""
        return [
            (trial.report.best_score, number, figures(trial.report.best_validation))
            for number, trial in running.items()
            if trial.report is not None and math.isfinite(trial.report.best_score)
        ]

    def _best_seen(self, running: Mapping[int, _Running]) -> str:
        """The best score of all trials, those under way too, and its figures."""
        found = [] if self._best is None else [(*self._best, self._best_figures)]
        found += self._under_way(running)
        if not found:
            return "no score yet"
        score, number, shown = min(found)
        return f"best {score:.4g} (trial {number}){', ' if shown else ''}{shown}"

    def _view(self) -> RenderableType:
        """What stands under the lines. Another thread draws it, from copies of what may change meanwhile."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        usage = self._usage.text()
        work = self._work
        if work is not None:
            clock = f"{span(time.monotonic() - work.began)} so far{self._still(work)}"
            return Group(Text(work.text, "bold"), Text(f"{clock}{'; ' if usage else ''}{usage}"))
        if not self._searching:
            return Group()
        running, ended = self._running.copy(), self._ended.copy()
        counts = [f"{len(running)} running", f"{ended['PRUNED']} stopped", f"{ended['COMPLETE']} done"]
        counts += [f"{ended['FAIL']} failed"] if ended["FAIL"] else []
        before = f" ({self._finished} before)" if self._finished else ""
        head = f"{self._finished + ended.total()} of {self._wanted} trials{before}: {', '.join(counts)}"
        best = self._best_seen(running)
        clock = f"{span(time.monotonic() - self._search_began)} so far{self._left(running)}"
        lines = [Text(head, "bold"), Text(best), Text(f"{clock}{'; ' if usage else ''}{usage}")]
        wide = self._console is None or self._console.width >= _WIDE
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("trial", "epoch", "score", "best", *(["hyperparameters"] if wide else [])):
            long = name == "hyperparameters"  # the one column that gives way where the terminal is too narrow
            table.add_column(name, justify="left" if long else "right", no_wrap=not long)
        for number, trial in sorted(running.items())[:_ROWS]:
            of = f"/{self._course.epochs}" if self._course is not None else ""
            report = trial.report
            row = [str(number), f"{trial.epoch}{of}"]
            row += [_number(report.score), _number(report.best_score)] if report is not None else ["", ""]
            params = Text(_shown(trial.params), no_wrap=True, overflow="ellipsis")
            table.add_row(*row, *([params] if wide else []))
        if len(running) > _ROWS:
            table.add_row("...", f"{len(running) - _ROWS} more")
        return Group(*lines, table)


def figures(validation: Mapping[str, float]) -> str:
    """Validation errors for people: ``MAE 2.51 / 3.52 / 4.41 at 15 / 30 / 45 min``; empty where there are none."""
    found = {int(name[4:]): value for name, value in validation.items() if name.startswith("mae_")}
    shown = " / ".join(f"{found[minutes]:.2f}" for minutes in sorted(found))
    return f"MAE {shown} at {' / '.join(map(str, sorted(found)))} min" if found else ""


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:3d}:{int(seconds) % 60:02d}"


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
