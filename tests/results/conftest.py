"""A complete best.json, and results made from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kdsearch.results.result import Result

METRICS = [f"{metric}_{minutes}" for minutes in (15, 30, 45) for metric in ("mae", "rmse", "mape")]


def figures(start: float) -> dict[str, dict[str, float]]:
    return {name: {"mean": start + i / 7, "std": 0.01 * (i + 1)} for i, name in enumerate(METRICS)}


def plain(start: float) -> dict[str, float]:
    return {name: start + i / 7 for i, name in enumerate(METRICS)}


@pytest.fixture(scope="session")
def make_document() -> Callable[..., dict[str, Any]]:
    """Builds a best.json of schema 1; keywords replace its keys, ``score`` its mean validation score."""

    def make(score: float = 2.9, **changes: Any) -> dict[str, Any]:
        document = {
            "schema": 1,
            "dataset": "pemsd7",
            "loss": "stcd",
            "prune": None,
            "params": {"batch_size": 50, "learning_rate": 0.001, "alpha1": 0.17, "alpha2": 0.05, "alpha3": 0.31},
            "n_parameters": 10144,
            "teacher": {"n_parameters": 333604, "channels": [[1, 32, 64], [64, 32, 128]], "fingerprint": "t0"},
            "validation": {"score": {"mean": score, "std": 0.02}, **figures(2.0)},
            "test": figures(2.1),
            "seeds": [0, 1, 2],
            "per_seed": [],
            "confirmed": [],
            "baselines": {
                name: {"validation": plain(2.0), "test": plain(start)}
                for name, start in (("copy_last", 2.6), ("ridge_ar", 2.7), ("teacher", 2.2), ("student_none", 2.64))
            },
            "warnings": [],
            "search": {"trials": 64, "completed": 9, "stopped": 53, "failed": 2, "epochs": 50, "seconds": {}},
            "fingerprint": {"code": "c0", "data": "d0", "protocol": "p0", "versions": {"python": "3.11"}},
            "command": "python -m kdsearch.tune",
        }
        return document | changes

    return make


@pytest.fixture(scope="session")
def make_result(make_document: Callable[..., dict[str, Any]]) -> Callable[..., Result]:
    def make(score: float = 2.9, **changes: Any) -> Result:
        return Result.read(make_document(score, **changes), "test")

    return make
