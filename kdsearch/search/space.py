"""Search spaces: what ``search_spaces/*.toml`` declare, checked before anything starts.

The format is documented in ``search_spaces/README.md``. Nothing here imports ray, optuna or torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from kdsearch.errors import UserError, suggestion
from kdsearch.training.recipe import PAPER

__all__ = ["Defaults", "Parameter", "Range", "Space", "find", "load"]

Value = bool | int | float | str


class Range(NamedTuple):
    """What a hyperparameter may be at all, both ends included."""

    low: float
    high: float


# Those of the training itself, which every loss has.
TRAINING = {"batch_size": Range(1, 1_000_000), "learning_rate": Range(1e-12, 1e6)}
# Those of pruning, which every loss has where something is pruned (kdsearch.pruning.settings.PruneSettings).
PRUNING = {"pruning_minibatch": Range(1, 1_000_000), "stage_percent": Range(0.1, 99.0)}
# The pruned percent, where a search of two objectives looks for a front of many sizes.
PARETO = {"pruned_percent": Range(0.1, 99.9)}
# Whole numbers, whatever their entry says.
WHOLE = ("batch_size", "pruning_minibatch")


@dataclass(frozen=True)
class Parameter:
    """One searched hyperparameter: either a range or a list of choices.

    Attributes:
        name: as the loss or the training declares it.
        low, high: both included; ``None`` for choices.
        log: sample the logarithm evenly.
        integer: whole numbers only.
        choices: the values to choose from; empty for a range.
    """

    name: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False
    choices: tuple[Value, ...] = ()

    def holds(self, value: Value) -> bool:
        """Whether a value lies in the range or among the choices."""
        if self.choices:
            return any(
                value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in self.choices
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.low is not None
        assert self.high is not None
        return self.low <= value <= self.high and (not self.integer or float(value).is_integer())

    def nearest(self, value: Any) -> Value | None:
        """The value of the range or of the numeric choices nearest to a number; ``None`` where there is no telling."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        if self.choices:
            numbers = [c for c in self.choices if isinstance(c, int | float) and not isinstance(c, bool)]
            # Of two equally near the smaller, whatever their order in the file.
            return min(numbers, key=lambda c: (abs(c - value), c), default=None)
        assert self.low is not None
        assert self.high is not None
        inside = min(max(float(value), self.low), self.high)
        return round(inside) if self.integer else inside

    def describe(self) -> str:
        """The range or the choices in words."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Defaults:
    """How far a search of this dataset goes unless the command says otherwise.

    Attributes:
        trials: wanted in total.
        epochs: of a full trial.
        grace: epochs before which no trial is stopped.
        reduction: one trial in so many goes on at each rung.
        confirm: ``"KxS"``, K configurations with S seeds each.
        teacher_epochs: ``None`` for as many as ``epochs``.
        teacher_run_length: consecutive windows drawn together when the teacher is trained.
    """

    trials: int = 64
    epochs: int = 50
    grace: int = 5
    reduction: int = 3
    confirm: str = "3x3"
    teacher_epochs: int | None = None
    teacher_run_length: int = 1


@dataclass(frozen=True)
class Space:
    """The space of one loss on one dataset.

    Attributes:
        loss: name of the loss.
        parameters: what is searched.
        known: points tried first, each with exactly the searched parameters.
        fixed: what ``--set`` took out of the search.
        defaults: length of the search.
        source: the file it was read from.
        prune: pruned percent, ``"pareto"`` where it is searched too, ``None`` when nothing is pruned.
    """

    loss: str
    parameters: tuple[Parameter, ...]
    known: tuple[Mapping[str, Value], ...] = ()
    fixed: Mapping[str, Value] = field(default_factory=dict)
    defaults: Defaults = Defaults()
    source: str = ""
    prune: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the searched parameters."""
        return tuple(p.name for p in self.parameters)

    def full(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """Searched and fixed hyperparameters together: what a trial is built from."""
        return {**params, **self.fixed}

    def nearest(self, point: Mapping[str, Any]) -> dict[str, Value]:
        """The values of a point as near as the ranges hold them; those that are not searched are left out."""
        near = {p.name: p.nearest(point[p.name]) for p in self.parameters if p.name in point}
        return {name: value for name, value in near.items() if value is not None}

    def fix(self, values: Mapping[str, Value]) -> Space:
        """Take parameters out of the search and give them a value, which may lie outside their range.

        Raises:
            UserError: the loss has no such hyperparameter, a number was wanted, or one that it can be at all.
        """
        from kdsearch.search._space_file import allowed_values

        names = [*self.names, *self.fixed]
        allowed = allowed_values(self.loss)
        for name, value in values.items():
            if name not in names:
                known = ", ".join(sorted(names))
                near = suggestion(name, names)
                pruned = " (a search with --prune has it)" if name in PRUNING else ""
                pruned = " (a search with --objective pareto has it)" if name in PARETO else pruned
                raise UserError(
                    f"--set {name}: the loss {self.loss} has no hyperparameter {name}{pruned}, only {known}{near}"
                )
            parameter = next((p for p in self.parameters if p.name == name), None)
            numeric = parameter is None or not parameter.choices or not isinstance(parameter.choices[0], str)
            if numeric and (isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value)):
                raise UserError(f"--set {name}: wants a number, not {value!r}")
            if name in WHOLE and not float(value).is_integer():
                raise UserError(f"--set {name}: wants a whole number, not {value!r}")
            if name in allowed and not allowed[name].low <= float(value) <= allowed[name].high:
                low, high = allowed[name]
                raise UserError(f"--set {name}: {value!r} lies outside {low:g} to {high:g}, which is all it can be")
        values = {name: int(value) if name in WHOLE else value for name, value in values.items()}
        parameters = tuple(p for p in self.parameters if p.name not in values)
        left = [{k: v for k, v in point.items() if k not in values} for point in self.known]
        known_points = points([point for point in left if point])
        return replace(self, parameters=parameters, known=known_points, fixed={**self.fixed, **values})

    def digest(self) -> str:
        """Names a space by what is searched and fixed; the known points and lengths do not count."""
        content = [self.loss, self.prune, [vars(p) for p in self.parameters], sorted(self.fixed.items())]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=list).encode()).hexdigest()[:16]


def find(stem: str) -> Path:
    """The file of a space that comes with kdsearch: top folder of a checkout, or inside an installed package.

    Raises:
        UserError: there is none of that name.
    """
    package = Path(__file__).resolve().parents[1]
    folders = [package.parent / "search_spaces", package / "_search_spaces"]
    for folder in folders:
        if (folder / f"{stem}.toml").is_file():
            return folder / f"{stem}.toml"
    known = sorted({file.stem for folder in folders if folder.is_dir() for file in folder.glob("*.toml")})
    raise UserError(
        f"there is no search space {stem!r}, only {', '.join(known) or 'none'}; --space FILE names your own"
    )


def load(
    path: str | Path,
    loss: str,
    prune: str | float | None = None,
    declared: Mapping[str, tuple[float, float]] | None = None,
    start: str | None = None,
    recipe: str = PAPER,
) -> Space:
    """Read the space of one loss from a file and check it.

    Args:
        path: a TOML file; see :func:`find` for those that come with kdsearch.
        loss: name of the loss, whose section is read.
        prune: pruned percent; its section's entries replace those of the loss. One without a section searches what
            the loss does and the ranges of pruning under [common], from the loss's own known points.
        start: ``"teacher"`` or ``"base"``: search the percent too, from that network; the known points are those of the
            sections whose percent belongs to it.
        declared: hyperparameters of the loss with the range each may have; default: what the loss registry says.
        recipe: whose sections, ``[recipe.<name>.*]``, replace entries of the others, where nothing is pruned.

    Raises:
        UserError: one sentence that names the file, the section and the entry.
    """
    from kdsearch.search import _space_file

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = tomllib.loads(text)
    except OSError as error:
        raise UserError(f"search space {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"search space {path}: is not UTF-8 text (byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"search space {path}: is not valid TOML: {error}") from error
    except RecursionError as error:
        raise UserError(f"search space {path}: is nested too deeply") from error
    stage = None if prune is None else f"{float(prune):g}"
    return _space_file.read(content, path, loss, stage, declared, start, recipe)


def points(values: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Value], ...]:
    """Points as a tuple without repetitions, in order."""
    kept: list[Mapping[str, Value]] = []
    for value in values:
        if value not in kept:
            kept.append(value)
    return tuple(kept)
