"""``python -m experiments.benchmarks.endurance``: many short trials in one search, and what must not grow with them.

Trials descend a bowl, which takes no time, so what is measured is the search: driver, journal, sampler, Ray. The first
and the last hundred trials stand side by side.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdsearch import command
from kdsearch.contents import JOURNAL, STATES
from kdsearch.search.report import Listener, Report

__all__ = ["Figures", "main", "parser"]

_EPOCHS = 9


def parser() -> command.Parser:
    """The command's arguments."""
    p = command.Parser(
        "python -m experiments.benchmarks.endurance",
        "Run many short trials in one search; compare memory, disk and time of the first and the last of them.",
    )
    p.add_argument("--trials", type=command.positive_int, default=1000, metavar="N", help="in total")
    p.add_argument("--window", type=command.positive_int, default=100, metavar="N", help="trials compared, at each end")
    p.add_argument("--concurrency", type=command.positive_int, default=2, metavar="N", help="trials at once")
    p.add_argument("--sampler", default="tpe", choices=("tpe", "random"), help="of Optuna")
    p.add_argument("--json", action="store_true", help="one object instead of a table")
    return p


@dataclass(frozen=True)
class _Row:
    """One epoch: what a short trial reports."""

    epoch: int
    score: float
    validation: Mapping[str, float]
    losses: Mapping[str, float]
    learning_rate: float = 1e-3
    seconds: float = 0.0


class Descent:
    """A trial: the score comes down to a bowl's height at the trial's point."""

    layout: Mapping[str, Any] | None = None
    cost: float | None = None

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._height = sum((float(value) - 0.3) ** 2 for value in params.values())
        self.best_score, self.best_epoch = math.inf, 0
        self.best_validation: Mapping[str, float] = {}
        self.best_weights: Mapping[str, Any] = {}

    def epoch(self) -> _Row:
        self.best_epoch += 1
        self.best_score = self._height + 2.0**-self.best_epoch
        self.best_validation = {f"mae_{minutes}": self.best_score for minutes in (15, 30, 45)}
        return _Row(self.best_epoch, self.best_score, self.best_validation, {"total": self.best_score})

    def state_dict(self) -> Mapping[str, Any]:
        return {"epoch": self.best_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best_epoch = int(state["epoch"])


class Bowl:
    """The objective."""

    def trainer(self, params: Mapping[str, Any], device: str, seed: int) -> Descent:
        return Descent(params)


class Watch(Listener):
    """Notes, as each trial ends, the time, this process's memory and the size of the folder."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self.seconds: list[float] = []
        self.memory: list[int] = []
        self.disk: list[int] = []
        self.states_kept: list[int] = []

    def on_trial_end(
        self,
        number: int,
        state: str,
        params: Mapping[str, Any],
        best_score: float | None,
        best_validation: Mapping[str, float],
        report: Report | None = None,
    ) -> None:
        self.seconds.append(time.monotonic())
        self.memory.append(_resident())
        self.disk.append((self._output / JOURNAL).stat().st_size)
        self.states_kept.append(sum(1 for _ in (self._output / STATES).glob("*.pt")))


@dataclass(frozen=True)
class Figures:
    """Of one hundred trials (or as many as asked for).

    Attributes:
        trial_ms: wall time a trial, all that the search does in it.
        suggest_ms: of it, the sampler and the study, until a trial has its hyperparameters.
        suggest_cpu_ms: the same in time of the processor, which no other work on the machine adds to.
        driver_mib: memory of the driver at the end of them.
        journal_bytes: the journal's growth a trial.
        states: most states of trials on disk at any end of a trial.
    """

    trial_ms: float
    suggest_ms: float
    suggest_cpu_ms: float
    driver_mib: float
    journal_bytes: float
    states: int


def measure(trials: int, window: int, concurrency: int, sampler: str) -> tuple[Figures, Figures]:
    """The first and the last ``window`` trials of a search."""
    from kdsearch.search import searcher
    from kdsearch.search.runner import run_search
    from kdsearch.search.settings import SearchSettings
    from kdsearch.search.space import Parameter, Space

    suggest_s: list[tuple[float, float]] = []
    original = searcher.StudySearcher.suggest

    def timed(self: Any, trial_id: str) -> Any:
        began, worked = time.perf_counter(), time.thread_time()
        found = original(self, trial_id)
        if isinstance(found, dict):
            suggest_s.append((time.perf_counter() - began, time.thread_time() - worked))
        return found

    space = Space("none", tuple(Parameter(f"x{k}", 0.0, 1.0) for k in range(5)))
    searcher.StudySearcher.suggest = timed  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "search"
            watch = Watch(output)
            settings = SearchSettings(
                output,
                trials,
                _EPOCHS,
                concurrency=concurrency,
                gpus_per_trial=0,
                grace=1,
                sampler=sampler,
                checkpoint_every_s=0.0,  # a state an epoch, so that those of losers would pile up
            )
            found = run_search(Bowl(), space, settings, (watch,))
            left = sorted(p.name for p in output.iterdir())
    finally:
        searcher.StudySearcher.suggest = original  # type: ignore[method-assign]
    if found.finished != trials or STATES in left:
        raise RuntimeError(f"{found.finished} of {trials} trials ended; left behind: {', '.join(left)}")
    return _figures(watch, suggest_s, 0, window), _figures(watch, suggest_s, trials - window, trials)


def _figures(watch: Watch, suggest_s: Sequence[tuple[float, float]], first: int, last: int) -> Figures:
    n = last - first - 1
    suggest_ms, suggest_cpu_ms = (
        1e3 * sum(column) / (last - first) for column in zip(*suggest_s[first:last], strict=True)
    )
    return Figures(
        trial_ms=1e3 * (watch.seconds[last - 1] - watch.seconds[first]) / n,
        suggest_ms=suggest_ms,
        suggest_cpu_ms=suggest_cpu_ms,
        driver_mib=watch.memory[last - 1] / 2**20,
        journal_bytes=(watch.disk[last - 1] - watch.disk[first]) / n,
        states=max(watch.states_kept[first:last]),
    )


def _resident() -> int:
    """Bytes of this process that lie in memory."""
    import resource

    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, print."""
    args = parser().parse_args(argv)
    if args.trials < 2 * args.window or args.window < 2:
        from kdsearch.errors import UserError

        raise UserError(f"--window {args.window}: wants at least 2 and at most half of the {args.trials} trials")
    first, last = measure(args.trials, args.window, args.concurrency, args.sampler)
    if args.json:
        print(json.dumps({"first": vars(first), "last": vars(last)}))
        return 0
    print(
        f"| of {args.trials} trials | first {args.window} | last {args.window} | last / first |\n|---|---:|---:|---:|"
    )
    for name, value in vars(first).items():
        ratio = vars(last)[name] / value if value else math.nan
        print(f"| {name} | {value:.2f} | {vars(last)[name]:.2f} | {ratio:.2f} |")
    return 0


if __name__ == "__main__":
    # Workers must find the objective by this module's name, not as __main__.
    from experiments.benchmarks import endurance

    sys.exit(command.run(endurance.main))
