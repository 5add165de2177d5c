"""What stands out in a table, and what stands under it."""

from __future__ import annotations

import csv
import json

from kdsearch.results.formats import Column, Marked, Table, render
from kdsearch.results.result import Figure

TABLE = Table(
    "t",
    "Errors",
    "few",
    [Column("models", "Models"), Column("mae", "MAE", figure=True)],
    [
        {"models": "a", "mae": Marked(1.0, 0.25, bold=True)},
        {"models": "b", "mae": Marked(2.0, None, sign="†")},
        {"models": "c", "mae": Marked(float("nan"), bold=True, sign="†")},
        {"models": "d", "mae": Figure(4.0)},
    ],
    notes=["Less than 5% of a_b."],
)


def test_marks_in_markdown():
    lines = render([TABLE], "md").splitlines()
    assert [line.split("|")[2].strip() for line in lines[4:8]] == ["**1.000 ± 0.250**", "2.000†", "-", "4.000"]
    assert lines[-1] == "Less than 5% of a_b."
    assert lines[-2] == ""


def test_marks_in_latex():
    text = render([TABLE], "tex")
    assert r"a & \textbf{1.000 $\pm$ 0.250} \\" in text
    assert r"b & 2.000† \\" in text
    assert r"c & - \\" in text
    assert text.index(r"\end{tabular}") < text.index(r"Less than 5\% of a\_b.") < text.index(r"\end{table}")


def test_numbers_for_machines_have_no_marks():
    rows = list(csv.DictReader(render([TABLE], "csv").splitlines()))
    assert [(row["mae"], row["mae_std"]) for row in rows] == [("1.0", "0.25"), ("2.0", ""), ("", ""), ("4.0", "")]
    (told,) = json.loads(render([TABLE], "json"))
    assert told["rows"][0]["mae"] == {"mean": 1.0, "std": 0.25}
