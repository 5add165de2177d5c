"""Table 4: errors of the student of L_STCD beside classical forecasters, ASTGCN and other ways to distil."""

from __future__ import annotations

from experiments.reproduce.errors import ErrorTable
from experiments.reproduce.rows import CLASSICAL, ROWS

# fitnet, at and nst are cited in the paper as rivals, but not in its table.
_KEYS = ("astgcn", "teacher", "none", "rd_l2", "rd_kl", "skd", "fitnet", "at", "nst", "stcd", "best-stcd")

TABLE = ErrorTable(
    4,
    "comparison with other forecasters and other losses",
    tuple(ROWS[key] for key in (*CLASSICAL, *_KEYS)),
    contests=(("none", *CLASSICAL, "astgcn", *_KEYS[3:-1]),),
)
