"""Searches side by side."""

from __future__ import annotations

import csv
import io
import json

import pytest

from kdsearch.compare import main
from kdsearch.errors import UserError
from kdsearch.results.compare import compare
from kdsearch.results.page.reading import read_search
from tests.results.searches import make_search, write_document


@pytest.fixture
def two(tmp_path, make_document):
    """A finished search and one that has not finished, of the same data."""
    for name, count in (("one", 20), ("two", 6)):
        make_search(tmp_path / name, trials=count)
    write_document(tmp_path / "one", make_document(2.75, dataset="demo"))
    return tmp_path / "one", tmp_path / "two"


def lines_of(text: str) -> dict[str, str]:
    return {line.split("  ")[0]: line for line in text.splitlines()}


def test_what_is_put_beside_each_other(two):
    text, notes = compare(two, "text")
    lines = lines_of(text)
    first, second = (read_search(folder) for folder in two)
    assert text.splitlines()[0].split() == ["one", "two"]
    assert lines["trials"].split() == ["trials", "20", "6"]
    assert lines["state"].split() == ["state", "finished", "not", "finished"]
    best = min(t.score for t in second.scored)
    assert f"{best:.3f}" in lines["its score in the search (mph)"]
    assert "2.750 ± 0.020" in lines["confirmed score (mph)"]
    assert lines["confirmed score (mph)"].endswith("-")
    assert first.winner is not None
    assert notes == ["not finished: two"]
    assert "alpha1" in text


def test_csv_has_a_row_a_search_and_every_digit(two):
    rows = list(csv.DictReader(io.StringIO(compare(two, "csv")[0])))
    assert [row["search"] for row in rows] == ["one", "two"]
    assert [row["dataset"] for row in rows] == ["demo", "demo"]
    assert float(rows[1]["best_score"]) == min(t.score for t in read_search(two[1]).scored)
    assert rows[0]["score"] == "2.75"
    assert rows[1]["score"] == ""


def test_markdown_is_a_table(two):
    lines = compare(two, "md")[0].splitlines()
    assert lines[0] == "|  | one | two |"
    assert {line.count("|") for line in lines} == {4}


def test_what_does_not_compare_is_said(tmp_path, make_document):
    for name, data in (("a", "d1"), ("b", "d2"), ("c", "d2")):
        make_search(tmp_path / name, trials=4, setup={"data": data})
        write_document(tmp_path / name, make_document(2.0 if name == "b" else 3.0, dataset="demo"))
    a, b, c = (tmp_path / name for name in "abc")
    assert "different data" in compare([a, b], "text")[1][0]
    assert compare([b, c], "text")[1] == ["lowest confirmed validation score: b"]
    document = json.loads((c / "best.json").read_text())
    document["fingerprint"]["protocol"] = "other"
    write_document(c, document)
    assert "different protocols" in compare([b, c], "text")[1][0]


def test_folders_of_one_name_are_told_apart(tmp_path):
    for name in ("x/run", "y/run"):
        make_search(tmp_path / name, trials=2)
    assert compare([tmp_path / "x" / "run", tmp_path / "y" / "run"], "text")[0].split()[:2] == ["x/run", "y/run"]


def test_the_command(two, tmp_path, capsys):
    assert main([*map(str, two), "--format", "md", "--file", str(tmp_path / "out.md")]) == 0
    assert (tmp_path / "out.md").read_text().startswith("|  | one")
    assert capsys.readouterr().err == "kdsearch: note: not finished: two\n"
    with pytest.raises(UserError, match="no such folder"):
        main([str(tmp_path / "nowhere")])
