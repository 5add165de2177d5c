from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdsearch.data import load
from kdsearch.data.declaration import Declaration, read_declaration
from kdsearch.errors import UserError
from tests.conftest import DECLARATIONS
from tests.data.conftest import TOML

Declare = Callable[[str, str], Path]


def test_defaults(folder: Path) -> None:
    d = read_declaration(folder / "corner.toml")
    assert (d.name, d.steps_per_day, d.first_step, d.missing, d.space) == ("corner", 24, 0, "nan", "default")
    assert d.drop_incomplete_days
    assert (d.speeds.format, d.speeds.unit, d.speeds.channel) == ("csv", "mph", None)
    assert (d.graph.format, d.graph.unit, d.graph.sigma2, d.graph.epsilon) == ("matrix", "m", 0.1, 0.5)
    assert not d.graph.symmetrise


def test_the_name_is_the_stem_unless_said(declare: Declare) -> None:
    path = declare('name = "corner"\n', "")
    assert read_declaration(path).name == "corner"
    assert read_declaration(path.rename(path.with_name("other.toml"))).name == "other"


def test_everything_can_be_said(declare: Declare) -> None:
    path = declare(
        TOML,
        """
        name = "all"
        steps_per_day = 96
        first_step = 5
        drop_incomplete_days = false
        missing = "zero"
        space = "pemsd8"
        speeds = { file = "a.npz", format = "npz", key = "data", channel = 2, unit = "km/h" }
        split = { train = 3, validation = 2, test = 1 }
        graph = { file = "g.csv", format = "matrix", unit = "km", sigma2 = 1, epsilon = 0.2, symmetrise = true }
        """,
    )
    d = read_declaration(path)
    assert (d.speeds.key, d.speeds.channel, d.graph.sigma2, d.split.total, d.space) == ("data", 2, 1, 6, "pemsd8")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("steps_per_day", "steps_a_day", "unknown key steps_a_day: did you mean steps_per_day?"),
        ("[graph]", "[grph]", "unknown key grph: did you mean graph?"),
        ("[graph]", "[graph]\nsigma = 1.0", "unknown key graph.sigma: did you mean graph.sigma2?"),
        ("[split]", "[split]\ntrian = 1", "unknown key split.trian: did you mean split.train?"),
        ("[split]", "[split]\nmissing = 'nan'", "unknown key split.missing: missing belongs above the first section"),
        ("[split]", "[split]\nchannel = 1", r"unknown key split.channel: channel belongs in the section \[speeds\]"),
        ("[split]", "[split]\nzzzz = 1", "unknown key split.zzzz: known are train, validation, test"),
        ("steps_per_day = 24", "folder = '/'", "unknown key folder"),
        ("steps_per_day = 24", "steps_per_day = 24.0", "steps_per_day must be a whole number, not 24.0"),
        ("steps_per_day = 24", "steps_per_day = true", "steps_per_day must be a whole number, not True"),
        ("steps_per_day = 24", "steps_per_day = 7", "must divide the 1440 minutes"),
        ("steps_per_day = 24", "steps_per_day = 0", "must divide the 1440 minutes"),
        ("steps_per_day = 24", "first_step = 288", "first_step = 288 must be from 0 to 287"),
        ("steps_per_day = 24", "missing = 'none'", "missing = 'none' is unknown"),
        ("steps_per_day = 24", "missing = 'zeros'", "did you mean 'zero'"),
        ("steps_per_day = 24", "drop_incomplete_days = 'yes'", "must be true or false"),
        ('name = "corner"', "name = 3", "name must be a text in quotes, not 3"),
        ('name = "corner"', 'name = "a/b"', "usable as a file name"),
        ('name = "corner"', 'name = ""', "usable as a file name"),
        ('name = "corner"', 'name = ".."', "usable as a file name"),
        ("[speeds]\n", "[speeds]\nformat = 'xlsx'\n", "speeds.format = 'xlsx' is unknown"),
        ("[speeds]\n", "[speeds]\nunit = 'kmh'\n", "speeds.unit = 'kmh' is unknown.*did you mean 'km/h'"),
        ("[speeds]\n", "[speeds]\nchannel = 2\n", 'speeds.channel has no meaning with format "csv"'),
        ("[speeds]\n", "[speeds]\nkey = 'data'\n", 'speeds.key has no meaning with format "csv"'),
        ("[speeds]\n", "[speeds]\nskip_columns = -1\n", "skip_columns = -1 must be 0 or more"),
        ('file = "speeds.csv"', "", "speeds.file is missing"),
        ('file = "speeds.csv"', "file = ''", "speeds.file must name a file"),
        ("validation = 1\n", "", "split.validation is missing"),
        ("validation = 1\n", "validation = 0\n", "split.validation = 0 must be at least one day"),
        ('[graph]\nfile = "graph.csv"\n', "", r"the section \[graph\] is missing"),
        ('[graph]\nfile = "graph.csv"\n', "[[graph]]\n", "graph must be a section of its own"),
        ("[graph]\n", "[graph]\nformat = 'edgelist'\n", "did you mean 'edges'"),
        ("[graph]\n", "[graph]\nunit = 'miles'\n", "graph.unit = 'miles' is unknown"),
        ("[graph]\n", "[graph]\nsigma2 = 0\n", "graph.sigma2 = 0 must be above 0"),
        ("[graph]\n", "[graph]\nsigma2 = nan\n", "graph.sigma2 = nan must be above 0"),
        ("[graph]\n", "[graph]\nepsilon = 1.5\n", "graph.epsilon = 1.5 must be from 0 to 1"),
        ("[graph]\n", "[graph]\nformat = 'edges'\nsymmetrise = true\n", "graph.symmetrise has no effect"),
        ("[graph]\n", "[graph]\nformat = 'weights'\nsigma2 = 1.0\n", "graph.sigma2 has no effect"),
        ("[graph]\n", "[graph\n", "is no valid TOML"),
    ],
)
def test_a_bad_declaration_is_one_sentence_with_the_mend(declare: Declare, old: str, new: str, words: str) -> None:
    path = declare(old, new)
    with pytest.raises(UserError, match=words) as caught:
        read_declaration(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_unreadable_declarations(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.toml cannot be read: No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(UserError, match="not UTF-8"):
        load(tmp_path / "latin.toml")
    (tmp_path / "deep.toml").write_text("name = " + "[" * 20_000)
    with pytest.raises(UserError, match="no valid TOML"):
        load(tmp_path / "deep.toml")


KEYS = ["name", "speeds", "graph", "split", "steps_per_day", "missing", "speeds.file", "graph.format", "split.train"]
VALUES = st.sampled_from(
    ["1", "-1", "1.5", "nan", "true", '""', '"a"', "[]", "{}", "1979-05-27", "99999999999999999999"]
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(KEYS), VALUES), min_size=1, max_size=5, unique_by=lambda kv: kv[0]))
def test_no_toml_breaks_the_reader(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    path = tmp_path / "x.toml"
    path.write_text("\n".join(f"{k} = {v}" for k, v in pairs))
    told = ""
    try:
        assert isinstance(read_declaration(path), Declaration)
    except UserError as error:
        told = str(error)
    assert not told or told.startswith(str(path))


@pytest.mark.parametrize("path", sorted(DECLARATIONS.glob("*.toml")), ids=lambda p: p.stem)
def test_the_declared_pieces_are_sound(path: Path) -> None:
    d = read_declaration(path)
    assert d.name == path.stem
    # The commented lines are settings too, ready to be uncommented.
    text = path.read_text()
    for line in text.splitlines():
        body = line.removeprefix("# ")
        if line.startswith("# ") and " = " in body and body.split(" = ")[0].isidentifier():
            assert tomllib.loads(body)


def test_files_are_looked_up_in_the_data_folder_then_beside_the_toml(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("other")
    monkeypatch.delenv("KDSEARCH_DATA", raising=False)
    toml = folder / "corner.toml"
    assert load(toml).speeds.shape == (4, 24, 3)

    def mark(place: Path, mph: float) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(place, np.full((96, 3), mph), delimiter=",")

    mark(other / "speeds.csv", 22.0)
    monkeypatch.setenv("KDSEARCH_DATA", str(other))
    assert load(toml).mean == 22.0
    mark(other / "corner" / "speeds.csv", 11.0)  # of this dataset and no other
    assert load(toml).mean == 11.0
    mark(folder / "given" / "speeds.csv", 33.0)
    assert load(toml, folder / "given").mean == 33.0
    (folder / "graph.csv").unlink()
    with pytest.raises(UserError, match=r"no file graph\.csv; looked for") as caught:
        load(toml)
    for place in (other / "graph.csv", other / "corner" / "graph.csv", folder / "graph.csv"):
        assert str(place) in str(caught.value)
    assert "--dataset demo" in str(caught.value)
