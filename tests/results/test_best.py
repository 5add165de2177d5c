from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from kdsearch.errors import UserError
from kdsearch.results import best
from kdsearch.results.result import Result


def test_what_is_written_is_read_back(tmp_path, make_document):
    document = make_document()
    best.write_best(tmp_path / "best.json", document)
    assert best.read_best(tmp_path / "best.json") == document
    assert best.read_best(tmp_path) == document  # the folder will do
    assert os.listdir(tmp_path) == ["best.json"]  # nothing temporary is left


def test_result_survives_the_compact_form(make_document):
    result = Result.read(make_document(), "here")
    stored = Result.read(json.loads(json.dumps(result.document())), "there")
    assert stored.document() == result.document()
    assert (stored.validation, stored.test, stored.params) == (result.validation, result.test, result.params)
    assert stored.key == result.key
    assert result.score == 2.9
    assert result.baselines["copy_last"]["mae_15"].std is None


def test_figures_that_are_not_finite_stay_valid_json(tmp_path, make_document):
    document = make_document()
    document["test"]["mae_45"] = {"mean": math.nan, "std": math.inf}
    best.write_best(tmp_path / "best.json", document)
    json.loads((tmp_path / "best.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} in the file"))
    figure = best.read_result(tmp_path).test["mae_45"]
    assert math.isnan(figure.mean)
    assert figure.std is None


@pytest.mark.parametrize(
    "key", ["dataset", "loss", "params", "n_parameters", "validation", "test", "seeds", "fingerprint"]
)
def test_a_missing_key_is_named(tmp_path, make_document, key):
    document = make_document()
    del document[key]
    (tmp_path / "best.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=rf"best\.json: is damaged, it has no {key}"):
        best.read_best(tmp_path)
    with pytest.raises(ValueError, match=key):
        best.write_best(tmp_path / "other.json", document)
    assert not (tmp_path / "other.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 1, "dataset"', "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ('{"schema": 7}', "schema 7 and this version of kdsearch reads 1"),
        ("{}", "schema None"),
        ("\x00\x01", "not JSON"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, text, message):
    (tmp_path / "best.json").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        best.read_best(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_parameters": "many"}, "n_parameters is 'many'"),
        ({"n_parameters": True}, "n_parameters is True"),
        ({"validation": {}}, "validation has no score"),
        ({"fingerprint": {"code": "c"}}, "fingerprint has no protocol"),
        ({"test": {"mae_15": {"std": 1.0}}}, "mae_15: has no mean"),
        ({"test": {"mae_15": "2.6"}}, "'2.6', not a number"),
    ],
)
def test_wrong_contents_are_named(make_document, changes, message):
    with pytest.raises(UserError, match=message):
        Result.read(make_document(**changes), "best.json")


def test_a_search_that_has_not_finished_says_how_to_go_on(tmp_path):
    (tmp_path / "study.journal").touch()
    with pytest.raises(UserError, match=r"has not finished.*--resume"):
        best.read_best(tmp_path)


def test_a_folder_without_a_search_says_so(tmp_path):
    with pytest.raises(UserError, match="holds no search"):
        best.find(tmp_path)
    with pytest.raises(UserError, match="no such file or folder"):
        best.find(tmp_path / "absent")


def test_a_folder_of_searches_holds_them_all(tmp_path, make_document):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        best.write_best(tmp_path / name / "best.json", make_document())
    (tmp_path / "unfinished").mkdir()
    assert best.find(tmp_path) == [tmp_path / "a" / "best.json", tmp_path / "b" / "best.json"]


def test_a_file_in_the_way_of_the_folder_is_the_users_error(tmp_path, make_document):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        best.write_best(tmp_path / "file" / "best.json", make_document())


def test_a_failed_write_keeps_the_old_file(tmp_path, make_document):
    best.write_best(tmp_path / "best.json", make_document())
    before = (tmp_path / "best.json").read_bytes()
    with pytest.raises(TypeError):
        best.write_best(tmp_path / "best.json", make_document(command=Path))
    assert (tmp_path / "best.json").read_bytes() == before
    assert os.listdir(tmp_path) == ["best.json"]


def test_the_dataset_of_a_search_is_found_again(tmp_path, monkeypatch, make_document):
    """A known name, or the file that the command named, for as long as it lies there."""
    monkeypatch.chdir(tmp_path)
    assert best.dataset_of(make_document(), "here") == "pemsd7"
    for option in ("--dataset my/own.toml", "--dataset=my/own.toml", "--dataset 'my/own.toml'"):
        document = make_document(dataset="own", command=f"python -m kdsearch.tune {option} --trials 3")
        with pytest.raises(UserError, match="here is of a search on own: say with --dataset which TOML file"):
            best.dataset_of(document, "here")
        (tmp_path / "my").mkdir()
        (tmp_path / "my" / "own.toml").touch()
        assert best.dataset_of(document, "here") == "my/own.toml"
        (tmp_path / "my" / "own.toml").unlink()
        (tmp_path / "my").rmdir()


@pytest.mark.parametrize("command", ["", "tune --dataset", "tune --dataset 'torn", "tune --dataset demo"])
def test_a_command_that_names_no_file_is_no_dataset(tmp_path, monkeypatch, make_document, command):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="say with --dataset"):
        best.dataset_of(make_document(dataset="own", command=command), "here")


@pytest.mark.parametrize("runs", [None, "abc", [1], [{"validation": None}], [{"test": [1]}]])
def test_damaged_runs_are_one_sentence(tmp_path, make_document, runs):
    (tmp_path / "best.json").write_text(json.dumps(make_document() | {"per_seed": runs}))
    with pytest.raises(UserError, match="is damaged, per_seed"):
        best.read_best(tmp_path / "best.json")
