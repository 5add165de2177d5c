"""Table 7: the student that Algorithm 1 finds in the teacher, beside the one whose shape was given."""

from __future__ import annotations

from experiments.reproduce.errors import ErrorTable
from experiments.reproduce.rows import ROWS

# Traditional pruning of the teacher is not in the paper's table; it says what L_STCD adds to pruning.
TABLE = ErrorTable(
    7,
    "a student found by pruning",
    tuple(ROWS[key] for key in ("teacher", "stcd", "taylor-97", "kdis-97", "best-kdis-97")),
    contests=(("stcd", "taylor-97", "kdis-97"),),
    sizes=True,
)
