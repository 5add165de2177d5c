from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsearch.atomic import is_unfinished
from kdsearch.errors import UserError
from kdsearch.results import store

ROOT = Path(__file__).resolve().parents[2]


def test_only_a_better_result_replaces(tmp_path, make_result):
    assert store.update(make_result(2.9, n_parameters=1), tmp_path)
    assert not store.update(make_result(2.9, n_parameters=2), tmp_path)
    assert not store.update(make_result(3.0, n_parameters=3), tmp_path)
    assert not store.update(make_result(float("nan"), n_parameters=4), tmp_path)
    assert [r.n_parameters for r in store.read("pemsd7", tmp_path)] == [1]
    assert store.update(make_result(2.8, n_parameters=5), tmp_path)
    assert [r.n_parameters for r in store.read("pemsd7", tmp_path)] == [5]


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "ord"},
        {"prune": 97},
        {"fingerprint": {"code": "c0", "data": "d0", "protocol": "p1"}},
        {"fingerprint": {"code": "c0", "data": "d1", "protocol": "p0"}},
    ],
)
def test_what_cannot_be_compared_stands_side_by_side(tmp_path, make_result, changes):
    store.update(make_result(2.5), tmp_path)
    assert store.update(make_result(9.5, **changes), tmp_path)
    assert sorted(r.score for r in store.read("pemsd7", tmp_path)) == [2.5, 9.5]


def test_another_version_of_the_code_competes(tmp_path, make_result):
    store.update(make_result(2.5), tmp_path)
    fingerprint = {"code": "c9", "data": "d0", "protocol": "p0", "versions": {}}
    assert not store.update(make_result(2.6, fingerprint=fingerprint), tmp_path)
    assert store.update(make_result(2.4, fingerprint=fingerprint), tmp_path)
    assert [r.fingerprint["code"] for r in store.read("pemsd7", tmp_path)] == ["c9"]


def test_reading_gives_back_what_was_stored(tmp_path, make_result):
    result = make_result(prune=97.0)
    store.update(result, tmp_path)
    (read,) = store.read("pemsd7", tmp_path)
    assert read.document() == result.document()
    assert store.read("pemsd8", tmp_path) == []
    assert store.datasets(tmp_path) == ["pemsd7"]


_WORKER = """
import json, sys
from pathlib import Path
from kdsearch.results import store
from kdsearch.results.result import Result
document, scores = json.loads(sys.argv[2]), json.loads(sys.argv[3])
sys.stdin.readline()  # all begin together
for loss in ("stcd", "ord"):
    for score in scores:
        document["loss"], document["validation"]["score"]["mean"] = loss, score
        store.update(Result.read(document, "worker"), Path(sys.argv[1]))
"""


def test_many_processes_at_once_leave_the_best_of_all(tmp_path, make_document):
    scores = [[3.0 + ((7 * i + 3 * j) % 40) / 100 for j in range(10)] for i in range(4)]
    document = json.dumps(make_document())
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(tmp_path), document, json.dumps(part)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for part in scores
    ]
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        _, errors = worker.communicate(timeout=60)
        assert worker.returncode == 0, errors
    found = {r.loss: r.score for r in store.read("pemsd7", tmp_path)}
    assert found == dict.fromkeys(("stcd", "ord"), min(min(part) for part in scores))
    assert not [path for path in tmp_path.iterdir() if is_unfinished(path.name)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"schema": 2, "dataset": "pemsd7", "entries": []}', "schema 2"),
        ('{"schema": 1, "dataset": "other", "entries": []}', "belongs to 'other'"),
        ('{"schema": 1, "dataset": "pemsd7", "entries": {}}', "not a list of objects"),
        ('{"schema": 1, "dataset": "pemsd7", "entries": [{}]}', "entry 0: is damaged, it has no validation"),
    ],
)
def test_a_damaged_store_is_reported_and_left_alone(tmp_path, make_result, text, message):
    path = tmp_path / "pemsd7.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        store.read("pemsd7", tmp_path)
    with pytest.raises(UserError, match=message):
        store.update(make_result(), tmp_path)
    assert path.read_text() == text


def test_the_folder_is_the_argument_then_the_environment_then_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "experiments" / "best").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KDSEARCH_STORE", raising=False)
    assert store.folder() == tmp_path / "experiments" / "best"
    monkeypatch.setenv("KDSEARCH_STORE", str(tmp_path / "env"))
    assert store.folder() == tmp_path / "env"
    assert store.folder(tmp_path / "given") == tmp_path / "given"


def test_a_folder_that_cannot_be_made_is_the_users_error(tmp_path, make_result):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        store.update(make_result(), tmp_path / "file" / "store")


def test_a_store_that_could_take_nothing_is_told_before_a_search(tmp_path, make_result):
    store.check("demo", tmp_path / "to" / "be" / "made")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written: .*file is no folder"):
        store.check("demo", tmp_path / "file" / "store")
    (tmp_path / "demo.json").write_text("{")
    with pytest.raises(UserError, match=r"demo\.json"):
        store.check("demo", tmp_path)


@given(st.lists(st.text(min_size=1, max_size=20), min_size=2, max_size=5, unique=True))
def test_each_dataset_has_a_file_of_its_own_in_the_folder(names):
    folder = Path("store")
    paths = [store.path_of(name, folder) for name in names]
    assert len(set(paths)) == len(names)
    assert all(path.parent == folder and path.name.endswith(".json") for path in paths)


def point(make_result, score, parameters, **changes):
    fingerprint = {"code": "c0", "data": "d0", "protocol": f"p{parameters}", "front": "f0"}
    return make_result(score, n_parameters=parameters, prune=50.5, **{"fingerprint": fingerprint, **changes})


def test_a_front_keeps_what_nothing_beats(tmp_path, make_result):
    store.update(make_result(2.9), tmp_path)
    assert store.update_front([point(make_result, 3.0, 900), point(make_result, 2.5, 4000)], tmp_path)
    assert not store.update_front([point(make_result, 3.1, 950)], tmp_path)
    assert store.update_front([point(make_result, 2.4, 3000), point(make_result, 4.0, 100)], tmp_path)
    assert [(r.score, r.n_parameters) for r in store.read_fronts("pemsd7", tmp_path)] == [
        (4.0, 100),
        (3.0, 900),
        (2.4, 3000),
    ]
    # Points of another protocol stand beside them; single results are left alone, and leave the fronts alone.
    other = {"code": "c0", "data": "d0", "protocol": "p1", "front": "f1"}
    assert store.update_front([point(make_result, 9.0, 5000, fingerprint=other)], tmp_path)
    assert len(store.read_fronts("pemsd7", tmp_path)) == 4
    assert store.update(make_result(2.8), tmp_path)
    assert [r.score for r in store.read("pemsd7", tmp_path)] == [2.8]
    assert len(store.read_fronts("pemsd7", tmp_path)) == 4


def test_no_points_no_change(tmp_path):
    assert not store.update_front([], tmp_path)
    assert store.read_fronts("pemsd7", tmp_path) == []


def test_damaged_fronts(tmp_path):
    path = store.path_of("pemsd7", tmp_path)
    path.write_text(json.dumps({"schema": 1, "dataset": "pemsd7", "entries": [], "fronts": [1]}))
    with pytest.raises(UserError, match="its fronts are not a list of objects"):
        store.read_fronts("pemsd7", tmp_path)
