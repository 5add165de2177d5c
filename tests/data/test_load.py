from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdsearch.data import Windows, load
from kdsearch.errors import UserError
from tests.conftest import ROOT
from tests.data.conftest import some_speeds

Declare = Callable[[str, str], Path]


def rewrite(folder: Path, rows: np.ndarray) -> None:
    np.savetxt(folder / "speeds.csv", rows, delimiter=",", fmt="%.1f")


def test_unknown_names_are_answered_with_the_known(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"unknown dataset 'pems': give one of demo, pemsd7, pemsd8, or the path"):
        load("pems")
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=r"there is experiments/datasets/pemsd7-week\.toml"):
        load("pemsd7-week")


def test_a_declaration_cannot_take_the_name_of_a_published_set(declare: Declare) -> None:
    with pytest.raises(UserError, match=r"name = 'pemsd7' belongs to a published dataset: choose another name"):
        load(declare('name = "corner"', 'name = "pemsd7"'))


def test_readings_arrive_unchanged(folder: Path) -> None:
    d = load(folder / "corner.toml")
    assert np.array_equal(d.speeds, some_speeds(4, 24, 3))
    assert d.minutes_per_step == 60
    np.testing.assert_allclose(d.weights[0, 1], np.exp(-0.1))
    assert d.weights[0, 2] == 0


def test_zero_is_missing_only_where_the_dataset_says_so(folder: Path, declare: Declare) -> None:
    rows = some_speeds(4, 24, 3).reshape(-1, 3)
    rows[[5, 80], [1, 2]] = 0.0
    rewrite(folder, rows)
    plain = load(folder / "corner.toml")
    assert plain.n_missing == 0
    assert plain.speeds.reshape(-1, 3)[5, 1] == 0
    marked = load(declare("steps_per_day = 24", 'steps_per_day = 24\nmissing = "zero"'))
    assert marked.n_missing == 2
    assert np.isnan(marked.speeds.reshape(-1, 3)[[5, 80], [1, 2]]).all()
    assert Windows(marked, "train").valid is not None
    assert marked.mean > plain.mean


def test_a_dead_sensor_is_named(folder: Path, declare: Declare) -> None:
    rows = some_speeds(4, 24, 3).reshape(-1, 3)
    rows[:48, 2] = 0.0
    rewrite(folder, rows)
    with pytest.raises(UserError, match=r"sensor 2 .* no valid reading in the 2 training days"):
        load(declare("steps_per_day = 24", 'steps_per_day = 24\nmissing = "zero"'))


def test_partial_days_and_spare_days_are_dropped_with_a_note(folder: Path, declare: Declare) -> None:
    whole = some_speeds(6, 24, 3).reshape(-1, 3)
    rewrite(folder, whole[4 : 5 * 24 + 7])
    d = load(declare("steps_per_day = 24", "steps_per_day = 24\nfirst_step = 4"))
    assert np.array_equal(d.speeds.reshape(-1, 3), whole[24 : 5 * 24])
    assert d.notes == (
        "corner: the first 20 steps are a partial day and left out",
        "corner: the last 7 steps are a partial day and left out",
    )
    rewrite(folder, whole)
    d = load(declare("", ""))
    assert np.array_equal(d.speeds.reshape(-1, 3), whole[: 4 * 24])
    assert d.notes == ("corner: the last 2 of 6 days are in no part of the split and left out",)


def test_partial_days_can_be_refused(folder: Path, declare: Declare) -> None:
    rewrite(folder, some_speeds(5, 24, 3).reshape(-1, 3)[:100])
    with pytest.raises(UserError, match="100 steps are no whole number of days of 24"):
        load(declare("steps_per_day = 24", "steps_per_day = 24\ndrop_incomplete_days = false"))


def test_too_few_days(folder: Path) -> None:
    rewrite(folder, some_speeds(1, 24, 3).reshape(-1, 3))
    with pytest.raises(UserError, match=r"has 1 whole day but its split 2/1/1 needs 4"):
        load(folder / "corner.toml")


def test_units_are_converted(folder: Path, declare: Declare) -> None:
    kmh = load(declare("[speeds]", '[speeds]\nunit = "km/h"'))
    np.testing.assert_allclose(kmh.speeds, some_speeds(4, 24, 3) / 1.609344, rtol=1e-6)
    (folder / "graph.csv").write_text("0,1,inf\n1,0,2\ninf,2,0\n")
    np.testing.assert_allclose(load(declare("[graph]", '[graph]\nunit = "km"')).weights[0, 1], np.exp(-0.1))


def test_flow_taken_for_speed_is_refused(folder: Path) -> None:
    rewrite(folder, some_speeds(4, 24, 3).reshape(-1, 3) * 10)
    with pytest.raises(UserError, match=r"faster than any car: is it the right file, channel and unit"):
        load(folder / "corner.toml")


@pytest.mark.parametrize(
    ("graph", "setting", "words"),
    [
        ("0,1\n1,0\n", "", "has 2 sensors but the speeds have 3"),
        ("0,5,0\n4,0,0\n0,0,0\n", "", "sensor 2 .* is at distance 0 from 2 others"),
        ("0,5,9\n4,0,9\n9,9,0\n", "", "symmetrise = true"),
        ("0,0.5,0\n0.4,0,0\n0,0,0\n", 'format = "weights"', "weights are not symmetric"),
        ("0,1,100\n1,7,100\n", 'format = "edges"', "sensors 0 to 2"),
    ],
)
def test_bad_graphs(folder: Path, declare: Declare, graph: str, setting: str, words: str) -> None:
    (folder / "graph.csv").write_text(graph)
    with pytest.raises(UserError, match=words):
        load(declare("[graph]", f"[graph]\n{setting}"))


def test_sensors_at_distance_0(folder: Path, declare: Declare) -> None:
    """Two at one place are told of; a road's worth of them are pairs without a road, whatever the rest is."""
    (folder / "graph.csv").write_text("0,0,900\n0,0,900\n900,900,0\n")
    d = load(folder / "corner.toml")
    assert d.weights[0, 1] == 1
    assert d.notes == ("corner: 1 pair of sensors at distance 0, of weight 1",)
    rewrite(folder, some_speeds(4, 24, 20).reshape(-1, 20))
    road = np.repeat([0, 1], [4, 16])
    far = np.where(road[:, None] == road, 700.0 * abs(np.subtract.outer(range(20), range(20))), 0.0)
    np.savetxt(folder / "graph.csv", far, delimiter=",")
    with pytest.raises(UserError, match=r"sensor 0 .* is at distance 0 from 16 others"):
        load(folder / "corner.toml")
    # Eight detectors over the lanes of one place, the rest along the road.
    place = np.array([0.0] * 8 + [700.0 * k for k in range(1, 13)])
    np.savetxt(folder / "graph.csv", abs(np.subtract.outer(place, place)), delimiter=",")
    assert load(folder / "corner.toml").notes == ("corner: 28 pairs of sensors at distance 0, of weight 1",)
    # One half of a matrix that is to be mirrored, zeros in the other.
    rewrite(folder, some_speeds(4, 24, 5).reshape(-1, 5))
    np.savetxt(folder / "graph.csv", np.triu(700.0 * abs(np.subtract.outer(range(5), range(5)))), delimiter=",")
    with pytest.raises(UserError, match=r"sensor 0 .* is at distance 0 from 4 others"):
        load(declare("[graph]", "[graph]\nsymmetrise = true"))


def test_weights_that_join_nobody_are_not_asked_for_a_unit(folder: Path, declare: Declare) -> None:
    (folder / "graph.csv").write_text("0,0,0\n0,0,0\n0,0,0\n")
    with pytest.raises(UserError, match="all weights between them are 0"):
        load(declare("[graph]", '[graph]\nformat = "weights"'))


@pytest.mark.parametrize("unit", ["mph", "km/h"])
def test_a_header_of_numbers_shows_by_one_row_too_many(folder: Path, declare: Declare, unit: str) -> None:
    rows = some_speeds(4, 24, 3).reshape(-1, 3)
    np.savetxt(folder / "speeds.csv", rows, "%.1f", ",", header="3,17,140", comments="")
    with pytest.raises(UserError, match=r"its first row \(3, 17, 140\) looks like a header"):
        load(declare("[speeds]", f'[speeds]\nunit = "{unit}"'))
    np.savetxt(folder / "speeds.csv", [[3, 17, 140]], "%g", ",")
    with pytest.raises(UserError, match="has 0 whole days"):
        load(folder / "corner.toml")
    # Whole readings that happen to rise, and one reading of the next day.
    np.savetxt(folder / "speeds.csv", np.vstack(([21, 32, 50], rows)), "%g", ",")
    d = load(declare("[speeds]", f'[speeds]\nunit = "{unit}"'))
    assert d.notes == ("corner: the last 1 steps are a partial day and left out",)


def test_a_home_that_is_nobodys(folder: Path, declare: Declare) -> None:
    with pytest.raises(UserError, match="no such home folder"):
        load(folder / "corner.toml", "~nobody-at-all/x")
    with pytest.raises(UserError, match="no such home folder"):
        load("pemsd7", "~nobody-at-all/x")
    with pytest.raises(UserError, match="no such home folder"):
        load(declare('"speeds.csv"', '"~nobody-at-all/speeds.csv"'))


def test_the_ways_to_give_a_graph(folder: Path, declare: Declare) -> None:
    (folder / "graph.csv").write_text("0,5,9\n4,0,9\n9,9,0\n")
    d = load(declare("[graph]", "[graph]\nsymmetrise = true"))
    assert d.weights[0, 1] == d.weights[1, 0] == pytest.approx(np.exp(-((4e-4) ** 2) / 0.1))
    (folder / "graph.csv").write_text("1,0.5,\n0.4,1,0\n,0,1\n")
    d = load(declare("[graph]", '[graph]\nformat = "weights"\nsymmetrise = true'))
    np.testing.assert_array_equal(d.weights, [[0, 0.5, 0], [0.5, 0, 0], [0, 0, 0]])
    (folder / "graph.csv").write_text("from,to,cost\n1,0,1000\n")
    d = load(declare("[graph]", '[graph]\nformat = "edges"'))
    np.testing.assert_allclose(d.weights, [[0, np.exp(-0.1), 0], [np.exp(-0.1), 0, 0], [0, 0, 0]])


def test_reading_data_does_not_import_torch() -> None:
    import subprocess
    import sys

    code = "import sys, kdsearch.data as d; d.load('demo'); sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
