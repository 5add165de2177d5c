"""front.json and its table."""

from __future__ import annotations

import json

import pytest

from kdsearch import command, export
from kdsearch.errors import UserError
from kdsearch.results.front import front_document, points_on_front, read_front
from kdsearch.results.result import Result
from kdsearch.results.tables import front


def points(make_document, *values):
    return [
        make_document(score, n_parameters=n, prune=prune, cost={"parameters": n, "forward_ms": ms, "batch": 256})
        for score, n, prune, ms in values
    ]


def test_what_another_beats_is_marked(make_document):
    three = points(make_document, (3.0, 900, 91, 2.0), (3.1, 950, 90, 1.0), (2.5, 4000, 60, 9.0))
    by_size = front_document(three, "parameters", {})
    assert [p["on_front"] for p in by_size["points"]] == [True, False, True]
    assert [r.n_parameters for r in points_on_front(by_size)] == [900, 4000]
    by_time = front_document(three, "latency", {})
    assert [p["on_front"] for p in by_time["points"]] == [True, True, True]


def test_the_table_is_ordered_by_size(make_document):
    document = front_document(points(make_document, (2.5, 4000, 60.25, 9.0), (3.0, 900, 91, 2.0)), "parameters", {})
    (table,) = front(read_front(document, "front.json"))
    assert [row["parameters"] for row in table.rows] == [900, 4000]
    assert [row["forward_ms"] for row in table.rows] == [2.0, 9.0]
    assert table.rows[1]["pruned"] == 60.25
    assert {"mae_15", "mae_30", "mae_45", "alpha1"} <= {column.key for column in table.columns}


def test_a_front_of_times_says_what_its_search_said(make_document):
    three = points(make_document, (5.0, 1000, 91, 3.0), (5.1, 1500, 90, 2.0), (4.0, 3000, 60, 4.0))
    (table,) = front(read_front(front_document(three, "latency", {}), "front.json"))
    assert [row["front"] for row in table.rows] == [True, True, True]


def test_points_of_two_searches_for_the_same_front_compete(make_document):
    own = []
    for score, n in ((4.0, 900), (5.0, 1000)):
        own += read_front(front_document(points(make_document, (score, n, 91, 1.0)), "parameters", {}), "front.json")
    (table,) = front(own)
    assert [row["front"] for row in table.rows] == [True, False]


def test_fronts_of_other_losses_or_data_do_not_compete(make_document):
    """As the store gives them: nobody has marked them yet."""
    prints = {"protocol": "p", "front": "f0"}
    low, high = points(make_document, (4.0, 900, 91, 1.0), (5.0, 1000, 91, 1.0))
    own = [Result.read(low | {"loss": "none", "fingerprint": {**prints, "data": "d0"}}, "a")]
    own += [Result.read(high | {"fingerprint": {**prints, "data": data}}, data) for data in ("d0", "d1")]
    (table,) = front(own)
    assert [row["front"] for row in table.rows] == [True, True, True]
    names = sorted(row["models"].plain for row in table.rows)
    assert names == ["L_STCD (data d0)", "L_STCD (data d1)", "without KD"]
    (alone,) = front([own[0]])
    assert "models" not in {column.key for column in alone.columns}


@pytest.mark.parametrize("form", ["md", "tex", "csv", "json"])
def test_export(make_document, tmp_path, capsys, form):
    document = front_document(points(make_document, (2.5, 4000, 60.25, 9.0)), "parameters", {})
    (tmp_path / "front.json").write_text(json.dumps(document))
    assert command.run(export.main, ["--output", str(tmp_path), "--table", "front", "--format", form]) == 0
    assert "4000" in capsys.readouterr().out


def test_a_folder_without_a_front(tmp_path, capsys):
    assert command.run(export.main, ["--output", str(tmp_path), "--table", "front"]) == 2
    assert "--objective pareto leaves one" in capsys.readouterr().err


@pytest.mark.parametrize(
    "document",
    [{}, {"schema": 1}, {"schema": 2, "points": []}, {"schema": 1, "points": [{}]}, {"schema": 1, "points": [5]}],
)
def test_no_front(document):
    with pytest.raises(UserError, match="here"):
        read_front(document, "here")
