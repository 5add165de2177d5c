"""Whatever lies in a file: the readers give a sound result or raise our error in one line, and nothing else."""

from __future__ import annotations

import io
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kdsearch.data import Dataset, load
from kdsearch.errors import UserError
from kdsearch.results.best import read_best
from kdsearch.results.result import Result
from kdsearch.search.space import Space
from kdsearch.search.space import load as load_space
from kdsearch.search.study import open_study, read_study
from kdsearch.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tests.data.conftest import GRAPH, TOML, make_dataset, some_speeds
from tests.faults.bad_calls import SPACE, SPEEDS, csv, npz

EXAMPLES = int(os.environ.get("KDSEARCH_FUZZ", "60"))
FUZZ = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# Values that TOML can hold, the wrong ones among them.
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(width=32),
    st.sampled_from(["", "a", "../x", "nan", "csv", "km/h", "\n", "speeds.csv", "x" * 300, "é"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner), max_leaves=4
)


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return {"inf": "inf", "-inf": "-inf", "nan": "nan"}.get(str(value), repr(value))
    if isinstance(value, str):
        return '"' + "".join(c if c.isalnum() or c in "./ -_" else f"\\u{ord(c):04x}" for c in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    return str(value)


def places(document: dict[str, Any], at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all keys."""
    found = []
    for key, value in document.items():
        found.append((*at, key))
        if isinstance(value, dict):
            found += places(value, (*at, key))
    return found


def with_value(document: dict[str, Any], at: tuple[str, ...], value: Any) -> dict[str, Any]:
    if not at:
        return value
    return {**document, at[0]: with_value(document[at[0]], at[1:], value)}


def sound_or_told(read: Callable[[], Any], sound: Callable[[Any], bool]) -> None:
    found, told = None, ""
    try:
        found = read()
    except UserError as error:
        told = str(error)
    assert "\n" not in told
    assert len(told) < 2000
    assert told or sound(found)


def is_dataset(found: Dataset) -> bool:
    return bool(
        np.isfinite(found.weights).all()
        and found.n_nodes >= 1
        and not np.isinf(found.speeds).any()
        and np.isfinite([found.mean, found.std]).all()
        and found.graph_kernel.shape == (3, found.n_nodes, found.n_nodes)
    )


def is_space(found: Space) -> bool:
    return bool(found.names) and found.defaults.trials >= 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "speeds.csv").write_text(csv(SPEEDS))
    (tmp_path / "graph.csv").write_text(GRAPH)
    (tmp_path / "x.toml").write_text(TOML)
    return tmp_path


DECLARATION = tomllib.loads(TOML)
SPACE_DOCUMENT = tomllib.loads(SPACE)


@FUZZ
@example(at=("graph", "file"), value="x" * 256)
@given(at=st.sampled_from(places(DECLARATION)), value=VALUES)
def test_any_value_anywhere_in_a_declaration(folder: Path, at: tuple[str, ...], value: Any) -> None:
    document = with_value(DECLARATION, at, value)
    (folder / "x.toml").write_text("\n".join(f"{k} = {toml(v)}" for k, v in document.items()))
    sound_or_told(lambda: load(folder / "x.toml"), is_dataset)


@FUZZ
@given(st.sampled_from(places(SPACE_DOCUMENT)), VALUES)
def test_any_value_anywhere_in_a_space(tmp_path: Path, at: tuple[str, ...], value: Any) -> None:
    document = with_value(SPACE_DOCUMENT, at, value)
    path = tmp_path / "space.toml"
    path.write_text("\n".join(f"{k} = {toml(v)}" for k, v in document.items()))
    sound_or_told(lambda: load_space(path, "stcd"), is_space)


@FUZZ
@given(st.data())
def test_any_byte_of_any_file_of_a_dataset(folder: Path, data: st.DataObject) -> None:
    """One stretch of a sound file is replaced, cut out or doubled."""
    name = data.draw(st.sampled_from(["x.toml", "speeds.csv", "graph.csv"]))
    whole = {"x.toml": TOML, "speeds.csv": csv(SPEEDS), "graph.csv": GRAPH}[name].encode()
    first = data.draw(st.integers(0, len(whole)))
    last = data.draw(st.integers(first, min(len(whole), first + 40)))
    put = data.draw(st.one_of(st.binary(max_size=8), st.sampled_from([b"-", b"nan", b",", b"\n", b"1e999", b"1e5"])))
    (folder / name).write_bytes(whole[:first] + put + whole[last:])
    sound_or_told(lambda: load(folder / "x.toml"), is_dataset)
    for other, text in (("x.toml", TOML), ("speeds.csv", csv(SPEEDS)), ("graph.csv", GRAPH)):
        (folder / other).write_text(text)


DTYPES = st.sampled_from(["f4", "f8", "f2", "i4", "u1", "i8", ">f8", "?", "c8", "U3", "M8[s]", "O"])


@FUZZ
@given(st.lists(st.integers(0, 5), min_size=0, max_size=4), DTYPES, st.booleans(), st.integers(0, 2))
def test_any_array_in_an_archive(folder: Path, shape: list[int], dtype: str, named: bool, channel: int) -> None:
    array = np.zeros([*shape], dtype=dtype)
    (folder / "speeds.npz").write_bytes(npz(**({"data": array} if named else {"a": array, "b": array})))
    more = f'file = "speeds.npz"\nkey = "data"\nchannel = {channel}'
    (folder / "x.toml").write_text(TOML.replace('file = "speeds.csv"', more))
    sound_or_told(lambda: load(folder / "x.toml"), is_dataset)


def a_checkpoint() -> tuple[Checkpoint, Dataset]:
    from kdsearch.training.network import new_network

    data = make_dataset(some_speeds(4, 24, 3))
    channels = ((1, 2, 4), (4, 2, 8))
    weights = new_network(data, channels, 0).state_dict()
    return Checkpoint(channels, dict(weights), data.name, data.fingerprint, 1, {"score": 1.0}, 0.5), data


CHECKPOINT, DATA = a_checkpoint()


def saved(folder: Path) -> bytes:
    save_checkpoint(folder / "whole.pt", CHECKPOINT)
    return (folder / "whole.pt").read_bytes()


@FUZZ
@given(st.data())
def test_any_byte_of_a_checkpoint(tmp_path: Path, data: st.DataObject) -> None:
    whole = saved(tmp_path)
    first = data.draw(st.integers(0, 50_000)) % len(whole)
    cut = data.draw(st.integers(0, 200))
    path = tmp_path / "x.pt"
    path.write_bytes(whole[:first] + data.draw(st.binary(max_size=20)) + whole[first + cut :])
    sound_or_told(lambda: load_checkpoint(path).network(DATA), lambda network: network.n_parameters() > 0)


@FUZZ
@given(
    st.sampled_from(["channels", "weights", "dataset", "data", "epoch", "validation", "seconds", "layout", "format"]),
    st.one_of(
        SCALARS,
        st.none(),
        st.lists(st.integers(-3, 99), max_size=3),
        st.lists(st.lists(st.integers(-3, 99), min_size=3, max_size=3), max_size=3),
        st.dictionaries(st.sampled_from(["head.bias", "blocks", "x"]), SCALARS, max_size=2),
    ),
)
def test_any_value_anywhere_in_a_checkpoint(tmp_path: Path, name: str, value: Any) -> None:
    saved(tmp_path)
    payload = torch.load(tmp_path / "whole.pt", weights_only=True)
    torch.save({**payload, name: value}, tmp_path / "x.pt")
    sound_or_told(lambda: load_checkpoint(tmp_path / "x.pt").network(DATA), lambda network: network.n_parameters() > 0)


def test_a_checkpoint_of_another_dataset(tmp_path: Path) -> None:
    saved(tmp_path)
    other = make_dataset(some_speeds(4, 24, 3, seed=1), name="other")
    with pytest.raises(UserError, match="give the checkpoint and the dataset that belong together"):
        load_checkpoint(tmp_path / "whole.pt").network(other)


@FUZZ
@given(st.one_of(VALUES, st.binary(max_size=60)))
def test_any_best_json(tmp_path: Path, content: Any) -> None:
    import json

    path = tmp_path / "best.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    sound_or_told(lambda: Result.read(read_best(path), "best.json"), lambda result: bool(result.params))


def a_journal(folder: Path) -> bytes:
    study = open_study(folder, {"loss": "stcd"}, resume=False)
    for score in (2.0, 1.0):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        trial.report(score, 1)
        study.tell(trial, score)
    study.ask().suggest_float("x", 0, 1)
    return (folder / "study.journal").read_bytes()


def test_a_journal_cut_off_anywhere_goes_on(tmp_path: Path) -> None:
    """A torn last line, wherever it is torn, costs that record and no other; the next one is not swallowed."""
    whole = a_journal(tmp_path)
    before = -1
    for cut in sorted({*range(0, len(whole), 37), *range(len(whole) - 60, len(whole) + 1)}):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "study.journal").write_bytes(whole[:cut])
        study = open_study(folder, {"loss": "stcd"}, resume=True)
        assert len(study.trials) >= before
        before = len(study.trials)
        study.ask()
        assert len(read_study(folder).trials) == before + 1
    assert before == 3


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return a_journal(tmp_path_factory.mktemp("whole"))


def is_study(study: optuna.Study) -> bool:
    return all(trial.number >= 0 for trial in study.get_trials())


@FUZZ
@given(st.data())
def test_any_byte_of_a_journal(tmp_path: Path, journal: bytes, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, 5000)) % len(journal)
    cut = data.draw(st.integers(0, 60))
    put = data.draw(st.binary(max_size=8))
    (tmp_path / "study.journal").write_bytes(journal[:first] + put + journal[first + cut :])
    sound_or_told(lambda: read_study(tmp_path), is_study)
    sound_or_told(lambda: open_study(tmp_path, {"loss": "stcd"}, resume=True), is_study)


def test_numbers_of_any_size(folder: Path) -> None:
    """Huge arrays are claimed in a header of a few bytes; nothing is allocated for them."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 10**3)})
    (folder / "speeds.npy").write_bytes(header.getvalue())
    (folder / "x.toml").write_text(TOML.replace("speeds.csv", "speeds.npy"))
    with pytest.raises(UserError, match=r"speeds\.npy"):
        load(folder / "x.toml")
