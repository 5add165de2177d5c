"""What one search may tell another before it begins: first points, and a prior for the sampler.

Scores of two searches do not compare (other data, another percent): only the order of the other's trials is used.

A point of another search need not lie in this one's space. A number is brought to the nearest value there is (the end
of a range, the nearest choice, a whole number), which is told; text that is no choice is left out, as is a
hyperparameter that this search does not have. What a point lacks is suggested by the sampler. So a point always says
something of this space, or the search is refused: none of its hyperparameters is searched here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdsearch.contents import BEST
from kdsearch.errors import UserError
from kdsearch.search.space import Space

__all__ = ["PRIOR_TRIALS", "WarmStart", "fit", "read_warm_start"]

Value = bool | int | float | str
# A prior is at most so many trials: a search is not to spend itself on believing another.
PRIOR_TRIALS = 32


@dataclass(frozen=True)
class WarmStart:
    """What was taken of another search.

    Attributes:
        source: name of its folder, for the record.
        points: to try first, best first; each holds some or all searched hyperparameters of this space.
        prior: trials for the sampler, each with where it stood in its own search: 0 the best, 1 the worst.
    """

    source: str
    points: tuple[Mapping[str, Value], ...]
    prior: tuple[tuple[Mapping[str, Value], float], ...] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; :meth:`read` takes it back."""
        return {
            "source": self.source,
            "points": [dict(p) for p in self.points],
            "prior": [[dict(p), standing] for p, standing in self.prior],
        }

    def brief(self) -> dict[str, Any]:
        """For the result of the search: the other's folder by name, and how many points and prior trials it gave."""
        return {"source": self.source, "points": len(self.points), "prior": len(self.prior)}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> WarmStart:
        """From what :meth:`plain` gave."""
        prior = tuple((params, float(standing)) for params, standing in document["prior"])
        return cls(str(document["source"]), tuple(document["points"]), prior)


def fit(space: Space, params: Mapping[str, Any]) -> tuple[dict[str, Value], list[str]]:
    """What a point of another search is in this space, and a note on each value that had to change."""
    kept: dict[str, Value] = {}
    notes = []
    for parameter in space.parameters:
        if parameter.name not in params:
            continue
        given = params[parameter.name]
        if parameter.holds(given):
            kept[parameter.name] = given
            continue
        near = parameter.nearest(given)
        if near is None:
            notes.append(f"{parameter.name} {given} is left out, it is none of {parameter.describe()[7:]}")
        else:
            kept[parameter.name] = near
            notes.append(f"{parameter.name} {_short(given)} taken as {_short(near)}")
    return kept, notes


def _short(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def read_warm_start(folder: Path, space: Space, points: int, prior: bool) -> tuple[WarmStart, list[str]]:
    """Take the best points of another search, finished or not; a confirmed winner comes first.

    Args:
        folder: of the other search.
        space: of this one.
        points: most to take.
        prior: whether to take its trials as a prior too.

    Returns:
        What was taken, and a line on each value that had to change.

    Raises:
        UserError: no search there, none of its trials has a score, or none of its hyperparameters is searched here.
    """
    from kdsearch.search.record import ranked
    from kdsearch.search.study import read_study

    study = read_study(folder)
    fixed = (study.user_attrs.get("setup") or {}).get("fixed") or {}
    found = ranked(study, fixed)
    if len(study.directions) > 1:
        from kdsearch.search.front import pareto_front

        # Of a front, its points from the best score on; the rest follows.
        front = pareto_front(found, lambda r: (r.score, math.inf if r.cost is None else r.cost))
        found = [*front[::-1], *(r for r in found if r not in front)]
    if not found:
        raise UserError(f"--warm-start {folder}: none of its trials has a score yet")
    if not set(space.names) & {name for r in found for name in r.params}:
        theirs = ", ".join(sorted({name for r in found for name in r.params}))
        raise UserError(
            f"--warm-start {folder}: it searched {theirs}, of which this search has none ({', '.join(space.names)})"
        )
    winner = _winner(folder)
    found.sort(key=lambda r: r.number != winner)
    notes: list[str] = []
    taken: list[Mapping[str, Value]] = []
    for one in found:
        point, changed = fit(space, one.params)
        if point and point not in taken and len(taken) < points:
            taken.append(point)
            notes += [f"trial {one.number}: {line}" for line in changed]
    believed: list[tuple[Mapping[str, Value], float]] = []
    if prior:
        order = sorted(found, key=lambda r: (r.score, r.number))
        chosen = order if len(order) <= PRIOR_TRIALS else [order[k] for k in _spread(len(order))]
        for one in chosen:
            point, _ = fit(space, one.params)
            if point.keys() == set(space.names):
                believed.append((point, order.index(one) / max(len(order) - 1, 1)))
        if not believed:
            lacking = ", ".join(sorted(set(space.names) - {n for r in found for n in r.params}))
            raise UserError(
                f"--warm-prior: no trial of {folder} has all that is searched here ({lacking} is missing); "
                "leave it out, its points can still come first"
            )
    return WarmStart(folder.resolve().name, tuple(taken), tuple(believed)), notes


def _winner(folder: Path) -> int | None:
    """Number of the confirmed winner's trial; None of an unfinished search."""
    import json

    try:
        document = json.loads((folder / BEST).read_text(encoding="utf-8"))
        return int(document["confirmed"][0]["trial"])
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None


def _spread(count: int) -> list[int]:
    """Positions at equal distances, both ends included: a prior must know the bad trials too."""
    return sorted({round(k * (count - 1) / (PRIOR_TRIALS - 1)) for k in range(PRIOR_TRIALS)})
