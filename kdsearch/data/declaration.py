"""A dataset declared in a TOML file: a user's own sensors need no code."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdsearch.data.dataset import MINUTES_PER_DAY, Split
from kdsearch.data.graph import METRES
from kdsearch.errors import UserError

__all__ = ["MPH", "Declaration", "GraphFile", "SpeedsFile", "read_declaration"]

MPH: dict[str, float] = {"mph": 1.0, "km/h": 1 / 1.609344, "m/s": 3600 / 1609.344}
_FORMATS = ("csv", "npz", "npy")
_GRAPH_FORMATS = ("matrix", "edges", "weights")


@dataclass(frozen=True)
class SpeedsFile:
    """``[speeds]``: where the readings are and how they lie in the file."""

    file: str
    format: str = ""
    key: str | None = None
    channel: int | None = None
    unit: str = "mph"
    skip_columns: int = 0


@dataclass(frozen=True)
class GraphFile:
    """``[graph]``: road distances (a matrix or an edge list), or finished weights."""

    file: str
    format: str = "matrix"
    unit: str = "m"
    sigma2: float = 0.1
    epsilon: float = 0.5
    symmetrise: bool = False


@dataclass(frozen=True)
class Declaration:
    """Everything a dataset's TOML file says.

    Attributes:
        name: what the dataset is called; the file's stem unless said.
        speeds: the readings.
        graph: the road graph.
        split: whole days in each part.
        steps_per_day: readings a day.
        first_step: step of its day at which the first reading stands; a partial first day is dropped.
        drop_incomplete_days: whether an incomplete last day is dropped (with a note) or is an error.
        missing: what marks a missing reading: ``nan`` (or an empty cell), or ``zero`` as well.
        space: stem of the search space.
        folder: where the TOML file lies; None for a known dataset.
    """

    name: str
    speeds: SpeedsFile
    graph: GraphFile
    split: Split
    steps_per_day: int = 288
    first_step: int = 0
    drop_incomplete_days: bool = True
    missing: str = "nan"
    space: str = "default"
    folder: Path | None = field(default=None)


_TYPES: dict[str, tuple[type, str]] = {
    "str": (str, "a text in quotes"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (bool, "true or false"),
    "SpeedsFile": (dict, "a section of its own"),
    "GraphFile": (dict, "a section of its own"),
    "Split": (dict, "a section of its own"),
}


def read_declaration(path: Path) -> Declaration:
    """Read and check a TOML declaration.

    Raises:
        UserError: the file is unreadable, no TOML, or says something unknown, ill-typed or out of range; the message
            names the key and the nearest one that exists.
    """
    try:
        document = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: save it as plain text") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{path} is no valid TOML: {error or 'nested too deeply'}") from error
    top = _section(Declaration, document, path, "", leave_out=("folder",), filled=("name",))
    top["speeds"] = SpeedsFile(**_section(SpeedsFile, top["speeds"], path, "speeds"))
    top["graph"] = GraphFile(**_section(GraphFile, top["graph"], path, "graph"))
    top["split"] = Split(**_section(Split, top["split"], path, "split"))
    top.setdefault("name", path.stem)
    return _check(Declaration(**top, folder=path.resolve().parent), document, path)


def _section(
    kind: type,
    given: dict[str, Any],
    path: Path,
    section: str,
    leave_out: tuple[str, ...] = (),
    filled: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The keys of one section, each known, of the right type, and none missing."""
    prefix = f"{section}." if section else ""
    fields = {f.name: f for f in dataclasses.fields(kind) if f.name not in leave_out}
    for key, value in given.items():
        if key not in fields:
            raise UserError(f"{path}: {_unknown(key, prefix, section, list(fields))}")
        declared = str(fields[key].type).removesuffix(" | None")
        wanted, words = _TYPES[declared]
        right = isinstance(value, wanted) and not (isinstance(value, bool) and wanted is not bool)
        if wanted is float and type(value) is int:
            right = True
        if not right:
            raise UserError(f"{path}: {prefix}{key} must be {words}, not {value!r}")
    for name, f in fields.items():
        needed = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if needed and name not in given and name not in filled:
            what = f"the section [{name}]" if str(f.type) in ("SpeedsFile", "GraphFile", "Split") else f"{prefix}{name}"
            raise UserError(f"{path}: {what} is missing")
    return dict(given)


def _unknown(key: str, prefix: str, section: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if near:
        return f"unknown key {prefix}{key}: did you mean {prefix}{near[0]}?"
    homes = [
        (name, f.name)
        for name, kind in (("", Declaration), ("speeds", SpeedsFile), ("graph", GraphFile), ("split", Split))
        for f in dataclasses.fields(kind)
        if f.name == key and name != section
    ]
    if homes and homes[0][1] != "folder":
        place = f"in the section [{homes[0][0]}]" if homes[0][0] else "above the first section"
        return f"unknown key {prefix}{key}: {key} belongs {place}"
    return f"unknown key {prefix}{key}: known are {', '.join(known)}"


def _check(d: Declaration, document: dict[str, Any], path: Path) -> Declaration:
    """Values in range, and no setting that would be ignored."""

    def one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
        if value not in allowed:
            near = difflib.get_close_matches(value, allowed, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"{path}: {key} = {value!r} is unknown, it can be {', '.join(map(repr, allowed))}{hint}")

    def need(ok: bool, sentence: str) -> None:
        if not ok:
            raise UserError(f"{path}: {sentence}")

    need(
        bool(d.name.strip(". ")) and not set(d.name) & set("/\\\0\n"),
        f"name = {d.name!r} must be usable as a file name",
    )
    need(bool(d.space.strip()), "space must name a search space")
    need(bool(d.speeds.file.strip()), "speeds.file must name a file")
    need(bool(d.graph.file.strip()), "graph.file must name a file")
    need("\0" not in d.speeds.file + d.graph.file, "a file name cannot hold a zero byte")
    one_of("missing", d.missing, ("nan", "zero"))
    one_of("speeds.unit", d.speeds.unit, tuple(MPH))
    one_of("graph.format", d.graph.format, _GRAPH_FORMATS)
    one_of("graph.unit", d.graph.unit, tuple(METRES))
    need(
        d.steps_per_day > 0 and MINUTES_PER_DAY % d.steps_per_day == 0,
        f"steps_per_day = {d.steps_per_day} must divide the {MINUTES_PER_DAY} minutes of a day",
    )
    need(0 <= d.first_step < d.steps_per_day, f"first_step = {d.first_step} must be from 0 to {d.steps_per_day - 1}")
    for part in ("train", "validation", "test"):
        need(getattr(d.split, part) >= 1, f"split.{part} = {getattr(d.split, part)} must be at least one day")
    sigma2, epsilon = float(d.graph.sigma2), float(d.graph.epsilon)
    need(math.isfinite(sigma2) and sigma2 > 0, f"graph.sigma2 = {sigma2:g} must be above 0")
    need(0 <= epsilon <= 1, f"graph.epsilon = {epsilon:g} must be from 0 to 1")
    without_effect = {"weights": ("unit", "sigma2", "epsilon"), "edges": ("symmetrise",), "matrix": ()}
    for key in without_effect[d.graph.format]:
        sentence = f'graph.{key} has no effect with graph.format = "{d.graph.format}": remove it'
        need(key not in document["graph"], sentence)
    format = d.speeds.format or Path(d.speeds.file).suffix.lstrip(".").lower()
    if not d.speeds.format and format not in _FORMATS:
        format = "csv"
    one_of("speeds.format", format, _FORMATS)
    need(d.speeds.key is None or format == "npz", f'speeds.key has no meaning with format "{format}": remove it')
    need(d.speeds.channel is None or format != "csv", 'speeds.channel has no meaning with format "csv": remove it')
    need(d.speeds.channel is None or d.speeds.channel >= 0, f"speeds.channel = {d.speeds.channel} must be 0 or more")
    need(d.speeds.skip_columns >= 0, f"speeds.skip_columns = {d.speeds.skip_columns} must be 0 or more")
    need(
        d.speeds.skip_columns == 0 or format == "csv",
        f'speeds.skip_columns has no meaning with format "{format}": remove it',
    )
    return dataclasses.replace(d, speeds=dataclasses.replace(d.speeds, format=format))
