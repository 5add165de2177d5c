"""Table 5: what each part of L_STCD is worth."""

from __future__ import annotations

from experiments.reproduce.errors import ErrorTable
from experiments.reproduce.rows import ROWS

TABLE = ErrorTable(
    5,
    "ablation of L_STCD",
    tuple(ROWS[key] for key in ("teacher", "none", "ord", "tcd", "scd", "stcd", "best-stcd")),
    contests=(("none", "ord", "tcd", "scd", "stcd"),),
)
