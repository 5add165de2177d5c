"""From logs to curves and figures: the best score so far over wall time, and what one number says of each method."""

from __future__ import annotations

import bisect
import csv
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Run", "at", "band", "best_known", "read_run", "summary", "table", "time_to", "write_csv"]


@dataclass(frozen=True)
class Run:
    """One search.

    Attributes:
        method, seed: which.
        points: each new best score and when it was reached, seconds since the command's start.
        trials: begun within the budget.
        epochs: done within the budget.
        first_s: when the first trial began, infinite where none did.
        cpu: share of its epochs' wall time for which a trial had a core; 1 on a machine that does nothing else.
    """

    method: str
    seed: int
    points: tuple[tuple[float, float], ...]
    trials: int
    epochs: int
    first_s: float
    cpu: float = math.nan

    @property
    def best(self) -> float:
        """At the end; infinite where no epoch was finite."""
        return self.points[-1][1] if self.points else math.inf


def read_run(method: str, seed: int, entries: Iterable[Mapping[str, Any]], budget_s: float) -> Run:
    """The run that a log tells of; what came after the budget does not count.

    Args:
        method: whose.
        seed: of the search.
        entries: lines of the log: ``seconds``, ``trial``, ``epoch`` (0 where the trial begins) and ``score``.
        budget_s: wall time of the search.
    """
    points: list[tuple[float, float]] = []
    trials = epochs = 0
    first, best = math.inf, math.inf
    wall = cpu = 0.0
    for entry in sorted(entries, key=lambda e: e["seconds"]):
        seconds = float(entry["seconds"])
        if seconds > budget_s:
            break
        if entry["epoch"] == 0:
            trials, first = trials + 1, min(first, seconds)
            continue
        epochs, wall, cpu = epochs + 1, wall + entry.get("wall", 0.0), cpu + entry.get("cpu", 0.0)
        if entry["score"] < best:  # never true of a NaN
            best = float(entry["score"])
            points.append((seconds, best))
    return Run(method, seed, tuple(points), trials, epochs, first, cpu / wall if wall else math.nan)


def at(run: Run, seconds: float) -> float:
    """The best score after so many seconds, infinite before the first."""
    index = bisect.bisect_right(run.points, (seconds, math.inf))
    return run.points[index - 1][1] if index else math.inf


def time_to(run: Run, score: float) -> float:
    """When a run first reached a score, infinite where it never did."""
    return next((seconds for seconds, best in run.points if best <= score), math.inf)


def best_known(runs: Sequence[Run]) -> dict[int, float]:
    """By seed, the best that anybody found: trials of one seed differ by their hyperparameters alone."""
    return {seed: min(r.best for r in runs if r.seed == seed) for seed in sorted({r.seed for r in runs})}


def band(runs: Sequence[Run], grid: Sequence[float]) -> tuple[list[float], list[float], list[float]]:
    """Lowest, median and highest best score over the runs at each time of a grid."""
    columns = [[at(run, seconds) for run in runs] for seconds in grid]
    return [min(c) for c in columns], [statistics.median(c) for c in columns], [max(c) for c in columns]


def summary(runs: Sequence[Run], budget_s: float, within: float = 0.01) -> dict[str, dict[str, Any]]:
    """By method, medians over its seeds, and the range of the score.

    Args:
        runs: of all methods, the same seeds each.
        budget_s: wall time of a search.
        within: of the best known score that counts as reached.
    """
    known = best_known(runs)
    found: dict[str, dict[str, Any]] = {}
    for method in dict.fromkeys(run.method for run in runs):
        own = [run for run in runs if run.method == method]
        times = [time_to(run, (1 + within) * known[run.seed]) for run in own]
        found[method] = {
            "seeds": [run.seed for run in own],
            "best": statistics.median(run.best for run in own),
            "best_range": [min(run.best for run in own), max(run.best for run in own)],
            "above_best_known_percent": statistics.median(100 * (run.best / known[run.seed] - 1) for run in own),
            "best_at_half": statistics.median(at(run, budget_s / 2) for run in own),
            "within_s": statistics.median(times),
            "reached": sum(math.isfinite(t) for t in times),
            "trials": statistics.median(run.trials for run in own),
            "epochs": statistics.median(run.epochs for run in own),
            "first_trial_s": statistics.median(run.first_s for run in own),
            "cpu": min(run.cpu for run in own),
        }
    return found


def table(figures: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str], budget_s: float) -> str:
    """The summary in Markdown, best median first."""
    head = (
        "method",
        f"best score after {budget_s:g} s (range)",
        "above best known",
        f"after {budget_s / 2:g} s",
        "within 1% after",
        "reached",
        "trials",
        "epochs",
        "first trial",
        "a core, at least",
    )
    rows = []
    for method, row in sorted(figures.items(), key=lambda item: item[1]["best"]):
        low, high = row["best_range"]
        rows.append(
            (
                labels.get(method, method),
                f"{row['best']:.4f} ({low:.4f} to {high:.4f})",
                f"{row['above_best_known_percent']:.2f}%",
                f"{row['best_at_half']:.4f}",
                f"{row['within_s']:.0f} s" if math.isfinite(row["within_s"]) else f"> {budget_s:g} s",
                f"{row['reached']} of {len(row['seeds'])}",
                f"{row['trials']:g}",
                f"{row['epochs']:g}",
                f"{row['first_trial_s']:.1f} s",
                f"{100 * row['cpu']:.0f}%" if math.isfinite(row["cpu"]) else "",
            )
        )
    lines = [head, ("---",) + ("---:",) * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_csv(runs: Sequence[Run], file: Path) -> None:
    """Each new best score of each run: method, seed, seconds, best."""
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("method", "seed", "seconds", "best"))
        for run in runs:
            writer.writerows((run.method, run.seed, f"{s:.3f}", f"{b:.6f}") for s, b in run.points)
