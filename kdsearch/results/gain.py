"""Did it pay? The winner against a row that was trained with the same seeds, paired."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdsearch.results.significance import LEVEL, Sample, p_value
from kdsearch.training.metrics import score

__all__ = ["RIVALS", "Gain", "gain_over"]

# Rows that may have the winner's seeds, the one that differs least from it first.
RIVALS = {
    "student_control": "the same student without KD",
    "student_kd": "the predetermined student with KD",
    "traditional": "traditional pruning",
    "student_none": "the student without KD",
}


@dataclass(frozen=True)
class Gain:
    """How much lower the winner's error is than a rival's, over the seeds that both were trained with.

    Attributes:
        rival: its row in ``baselines``.
        mph: test MAE, mean of the horizons and the seeds; negative where the winner is worse.
        share: the same as a part of the rival's.
        seeds: how many there are.
        wins: with how many of them the winner is better.
        p: of a two-sided paired t-test that the mean is not zero; None with one seed.
    """

    rival: str
    mph: float
    share: float
    seeds: int
    wins: int
    p: float | None

    def __str__(self) -> str:
        """In a sentence without its full stop."""
        how = "lower" if self.mph > 0 else "higher"
        told = (
            f"test MAE is {abs(self.mph):.3f} mph ({100 * abs(self.share):.1f}%) {how} than that of "
            f"{RIVALS[self.rival]}"
        )
        if self.p is None:
            return f"{told}; with one seed luck is not ruled out"
        test = f"{told}, better with {self.wins} of {self.seeds} seeds, paired t-test p = {self.p:.2g}"
        return test if self.p < LEVEL else f"{test}: not to be told from luck"


def gain_over(best: Mapping[str, Any]) -> Gain | None:
    """The winner of a best.json against the first of :data:`RIVALS` that was trained with its seeds.

    Returns:
        None where none has figures of the same seeds: a document of an earlier version, a search without KD.
    """
    ours = _by_seed(best)
    for name in RIVALS:
        theirs = _by_seed(best.get("baselines", {}).get(name) or {})
        if ours and ours.keys() == theirs.keys():
            return _gain(name, list(ours.values()), [theirs[seed] for seed in ours])
    return None


def _gain(rival: str, ours: list[float], theirs: list[float]) -> Gain:
    differences = [b - a for a, b in zip(ours, theirs, strict=True)]
    mph, mean = statistics.fmean(differences), statistics.fmean(theirs)
    wins = sum(d > 0 for d in differences)
    return Gain(rival, mph, mph / mean if mean else 0.0, len(ours), wins, p_value(Sample(ours), Sample(theirs)))


def _by_seed(row: Mapping[str, Any]) -> dict[int, float]:
    """Test MAE in mph, mean of the horizons, by seed."""
    return {int(run["seed"]): score(run["test"]) for run in row.get("per_seed", [])}
