"""All that comes after the last trial of a search for a front: confirmation, test days, front.json, the store."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from kdsearch.contents import BEST, CHECKPOINTS, FRONT, WINNER
from kdsearch.job.finish import baselines, best_seed, checkpoint_of, confirm_best, document_of, keep
from kdsearch.job.prepare import Prepared
from kdsearch.job.rivals import train_students
from kdsearch.job.say import Say
from kdsearch.pruning.objective import LATENCY_BATCH, LATENCY_RUNS, PERCENT
from kdsearch.results import store
from kdsearch.results.best import write_best
from kdsearch.results.files import write_json
from kdsearch.results.front import front_document, points_on_front
from kdsearch.search.confirm import Confirmed
from kdsearch.search.front import pareto_front, spread
from kdsearch.search.settings import SearchResult
from kdsearch.training.checkpoint import Checkpoint, save_checkpoint
from kdsearch.training.latency import forward_time

__all__ = ["finish_front"]


def finish_front(prepared: Prepared, search: SearchResult, say: Say, command: str, store_dir: Any) -> dict[str, Any]:
    """Confirm points all along the front, measure each on the test days once, write everything.

    Of ``--confirm KxS``, K is the number of points, at equal distances along the front that the search found, both ends
    among them. A point that another one beats once both are confirmed is kept and marked.

    Returns:
        The document of front.json.

    Raises:
        UserError: no trial finished its pruning with a finite score.
    """
    plan = prepared.plan
    reached = [r for r in search.ranked if r.cost is not None]
    found = pareto_front(reached, lambda r: (r.score, r.cost if r.cost is not None else math.inf))
    say(f"front: {len(found)} points of {len(reached)} trials")
    confirmed = confirm_best(prepared, spread(found, plan.confirm.configurations), say)
    whole = [c for c in confirmed if not math.isnan(c.mean)]
    train_students(prepared, say)
    rows = baselines(prepared)
    points: list[tuple[dict[str, Any], Checkpoint]] = []
    for one in whole:
        checkpoints = [checkpoint_of(plan, run, plan.start) for run in one.runs]
        network = checkpoints[best_seed(one)].network(plan.dataset, plan.device)
        document = _point(prepared, search, one, checkpoints, rows, command)
        document["cost"] = {
            "parameters": document["n_parameters"],
            "forward_ms": 1e3 * forward_time(network, LATENCY_BATCH, LATENCY_RUNS).median,
            "batch": LATENCY_BATCH,
        }
        points.append((document, checkpoints[best_seed(one)]))
    points.sort(key=lambda point: point[0]["n_parameters"])
    for number, (document, checkpoint) in enumerate(points, start=1):
        document["checkpoint"] = f"{CHECKPOINTS}/front-{number}.pt"
        save_checkpoint(plan.search.output / document["checkpoint"], checkpoint)
    document = front_document([d for d, _ in points], plan.cost or "parameters", rows)
    write_json(plan.search.output / FRONT, document)
    best = min(points, key=lambda point: point[0]["validation"]["score"]["mean"])
    save_checkpoint(plan.search.output / WINNER, best[1])
    write_best(plan.search.output / BEST, best[0])
    keep("the front", plan, store_dir, say, lambda: store.update_front(points_on_front(document), store_dir))
    return document


def _point(
    prepared: Prepared,
    search: SearchResult,
    one: Confirmed,
    checkpoints: list[Checkpoint],
    rows: dict[str, Any],
    command: str,
) -> dict[str, Any]:
    """The document of one point: that of a search with its percent given."""
    plan = prepared.plan
    assert plan.pruning is not None
    params = dict(one.params)
    percent = float(params.pop(PERCENT))
    given = replace(prepared, plan=replace(plan, pruning=replace(plan.pruning, percent=percent)))
    return document_of(given, search, [replace(one, params=params)], checkpoints, rows, command)
