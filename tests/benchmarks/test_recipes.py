"""What a trial of each recipe costs: every side is measured, against the paper's student without KD."""

from __future__ import annotations

import json

from experiments.benchmarks.recipes import main, measure


def test_every_side_is_measured() -> None:
    rows = measure(8, 4, 1)
    assert [row["update"] for row in rows] == [
        "student, paper, no KD",
        "student, paper, L_STCD",
        "teacher, paper, one step ahead",
        "student, best, no KD",
        "student, best, L_STCD",
        "teacher, best, one step ahead",
        "teacher, best, through the roll-out",
    ]
    assert rows[0]["times"] == 1
    assert all(row["ms"] > 0 for row in rows)


def test_the_command(capsys) -> None:
    assert main(["--n-nodes", "8", "--batch", "4", "--repeats", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["n_nodes"], report["batch"], len(report["updates"])) == (8, 4, 7)
