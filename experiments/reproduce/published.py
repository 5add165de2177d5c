"""Errors that the paper publishes in Tables 4 to 8 (``experiments/paper.toml``), for showing beside ours."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from kdsearch.results.paper import DATASETS

__all__ = ["attention", "errors", "known"]

_FILE = Path(__file__).resolve().parents[1] / "paper.toml"


def known(dataset: str) -> bool:
    """Whether the paper's figures are of this very data: the full PeMSD7 or PeMSD8."""
    return dataset in DATASETS


def errors(table: int, dataset: str, row: str, minutes: tuple[int, ...] = (15, 30, 45)) -> dict[str, float] | None:
    """Published errors such as ``{"mae_15": 2.23}``, None where there are none.

    Args:
        table: 4, 5, 7 or 8.
        dataset: name.
        row: key.
        minutes: the horizons, in the paper's order.
    """
    found = _tables().get(f"table{table}", {}).get(dataset, {}).get(row)
    if found is None:
        return None
    told = {}
    for metric, values in found.items():
        values = values * len(minutes) if len(values) == 1 else values
        told |= {f"{metric}_{m}": float(v) for m, v in zip(minutes, values, strict=True)}
    return told


def attention(dataset: str, row: str) -> float | None:
    """Published share of Table 6 in %, None where there is none."""
    return _tables()["table6"].get(dataset, {}).get(row)


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))
