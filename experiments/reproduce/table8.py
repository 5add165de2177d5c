"""Table 8: Algorithm 1 beside pruning by the task loss alone (Molchanov et al. 2019), from the base model."""

from __future__ import annotations

from experiments.reproduce.errors import ErrorTable
from experiments.reproduce.rows import ROWS

_PAIRS = tuple(f"{criterion}-{percent}" for percent in (25, 50, 75) for criterion in ("taylor", "kdis"))

TABLE = ErrorTable(
    8,
    "pruning with and without distillation",
    tuple(ROWS[key] for key in ("base", *_PAIRS, "best-kdis-75")),
    contests=tuple((f"taylor-{percent}", f"kdis-{percent}") for percent in (25, 50, 75)),
    sizes=True,
)
