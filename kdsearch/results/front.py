"""``front.json``, the answer of a search of two objectives: a point is a result of its own, with what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdsearch.contents import FRONT
from kdsearch.errors import UserError
from kdsearch.results.files import read_json
from kdsearch.results.result import SCHEMA, Result
from kdsearch.search.front import pareto_front

__all__ = ["front_document", "front_values", "points_on_front", "read_front", "read_front_file"]


def front_values(document: Mapping[str, Any], cost: str) -> tuple[float, float]:
    """Mean validation score and cost of a point."""
    name = "forward_ms" if cost == "latency" else "parameters"
    return float(document["validation"]["score"]["mean"]), float(document["cost"][name])


def front_document(points: Sequence[dict[str, Any]], cost: str, baselines: Mapping[str, Any]) -> dict[str, Any]:
    """The object of front.json.

    Args:
        points: documents as of best.json, each with ``cost``; those that another beats are marked.
        cost: ``"parameters"`` or ``"latency"``.
        baselines: figures of what stands beside the front.
    """
    on = pareto_front(points, lambda point: front_values(point, cost))
    marked = [{**point, "on_front": any(point is other for other in on)} for point in points]
    return {"schema": SCHEMA, "cost": cost, "points": marked, "baselines": dict(baselines)}


def points_on_front(document: Mapping[str, Any]) -> list[Result]:
    """The points that nothing beats."""
    return [Result.read(point, FRONT) for point in document["points"] if point["on_front"]]


def read_front(document: Mapping[str, Any], where: str) -> list[Result]:
    """All points of a front.json, those that another beats too.

    Raises:
        UserError: something is missing or of the wrong type.
    """
    points = document.get("points")
    if document.get("schema") != SCHEMA or not isinstance(points, list):
        raise UserError(f"{where}: is no front of this version of kdsearch")
    if not all(isinstance(point, dict) for point in points):
        raise UserError(f"{where}: is damaged, its points are not objects")
    weighed = document.get("cost", "parameters")
    return [Result.read({**point, "weighed": weighed}, f"{where}: point {i}") for i, point in enumerate(points, 1)]


def read_front_file(path: Path) -> list[Result]:
    """The points in a file; errors as :func:`read_front`."""
    return read_front(read_json(path, "the front of a search"), str(path))
