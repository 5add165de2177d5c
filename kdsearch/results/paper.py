"""What the paper publishes in Tables 1 to 3, for showing beside a result."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

__all__ = ["DATASETS", "hyperparameters", "network"]

DATASETS = {"pemsd7": "PeMSD7", "pemsd8": "PeMSD8"}
_FILE = Path(__file__).with_name("paper_tables.toml")


def hyperparameters(dataset: str, loss: str, prune: float | None) -> dict[str, float] | None:
    """The published hyperparameters of a loss (Table 2) or a pruning ratio (Table 3), None where there are none.

    Args:
        dataset: "pemsd7" or "pemsd8"; any other has no published figures.
        loss: as on the command line; Table 3 is of "stcd" only.
        prune: percent of the parameters removed.
    """
    tables = _tables()
    if prune is None:
        return tables["table2"].get(dataset, {}).get(loss)
    return tables["table3"].get(dataset, {}).get(f"{prune:g}") if loss == "stcd" else None


def network(dataset: str, name: str) -> dict[str, float] | None:
    """Table 1's ``parameters``, ``test_time_s`` and ``flops`` of a network, None where there are none.

    Args:
        dataset: as in :func:`hyperparameters`.
        name: "teacher", "base" or "student".
    """
    row = _tables()["table1"].get(dataset, {}).get(name)
    return None if row is None else {key: row[key] for key in ("parameters", "test_time_s", "flops")}


@cache
def _tables() -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))
