"""One finished search as tables and the store see it: the checked reading of best.json (schema 1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kdsearch.errors import UserError
from kdsearch.training.recipe import PAPER

__all__ = ["BASELINES", "SCHEMA", "Figure", "Result"]

SCHEMA = 1
BASELINES = (
    "copy_last",
    "ridge_ar",
    "usual_day",
    "teacher",
    "teachers_mean",
    "base",
    "student_none",
    "student_control",
    "student_kd",
    "traditional",
)
# Of "search", what a pruning is beside its percent.
PRUNING = ("criterion", "start", "granularity", "finetune_loss")
# Of "search": what the store keeps.
_KEPT = ("trials", "epochs", "recipe", *PRUNING, "warm_start")


@dataclass(frozen=True)
class Figure:
    """A measured quantity: its mean over the seeds and its deviation, None where one run gave it."""

    mean: float
    std: float | None = None

    @classmethod
    def read(cls, value: Any, where: str) -> Figure:
        """A figure from ``{"mean": .., "std": ..}`` or a plain number; null reads as NaN.

        Raises:
            UserError: it is neither.
        """
        if isinstance(value, Mapping):
            if "mean" not in value:
                raise UserError(f"{where}: has no mean")
            std = value.get("std")
            return cls(_number(value["mean"], f"{where}.mean"), None if std is None else _number(std, f"{where}.std"))
        return cls(_number(value, where))

    def document(self) -> dict[str, float | None]:
        """As JSON holds it."""
        return {"mean": self.mean, "std": self.std}


Figures = dict[str, Figure]


@dataclass(frozen=True)
class Result:
    """A best configuration and what was measured of it.

    Attributes:
        dataset: its name.
        loss: as on the command line.
        prune: percent of the parameters removed, None for none.
        params: the hyperparameters found.
        n_parameters: size of the network.
        validation: "score" (mean of the validation MAEs, mph; the lower the better), "mae_15", ... by name.
        test: the same names without the score.
        seeds: those of the confirmation.
        baselines: figures on the test days of what stands beside it, by the names in `BASELINES`.
        sizes: parameters of the baselines that are networks, by the same names.
        cost: of a point on a front: "parameters", "forward_ms"; else empty.
        weighed: of a point on a front, what its search weighed against the score, ``"parameters"`` or ``"latency"``.
        fingerprint: "code", "data", "protocol" and perhaps "versions".
        search: its length ("trials", "epochs", ...), and "warm_start" where it began with points of another one.
        teacher: "n_parameters" and the like; may be empty.
    """

    dataset: str
    loss: str
    prune: float | None
    params: dict[str, float | int | str | bool]
    n_parameters: int
    validation: Figures
    test: Figures
    seeds: tuple[int, ...]
    baselines: dict[str, Figures]
    fingerprint: dict[str, Any]
    search: dict[str, Any] = field(default_factory=dict)
    teacher: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    weighed: str = "parameters"

    @property
    def score(self) -> float:
        """The mean validation score: what results of the same protocol are compared by."""
        return self.validation["score"].mean

    @property
    def recipe(self) -> str:
        """How its networks were trained; results of older versions do not say, and are the paper's."""
        return str(self.search.get("recipe", PAPER))

    @property
    def key(self) -> tuple[str, float | None, str, str]:
        """Results with the same key compete; all others stand side by side."""
        return self.loss, self.prune, str(self.fingerprint["protocol"]), str(self.fingerprint.get("data", ""))

    @classmethod
    def read(cls, document: Mapping[str, Any], where: str) -> Result:
        """Check and read a result.

        Args:
            document: the object of a best.json, or an entry of the store.
            where: its place, for the errors.

        Raises:
            UserError: a key is missing or holds something of the wrong type.
        """
        get = _Reader(document, where)
        validation = _figures(get("validation", Mapping), f"{where}: validation")
        if "score" not in validation:
            raise UserError(f"{where}: is damaged, validation has no score")
        fingerprint = dict(get("fingerprint", Mapping))
        if not isinstance(fingerprint.get("protocol"), str):
            raise UserError(f"{where}: is damaged, fingerprint has no protocol")
        prune = document.get("prune")
        baselines = {
            str(name): _figures(parts.get("test") or {}, f"{where}: baselines.{name}.test")
            for name, parts in get("baselines", Mapping, optional=True).items()
            if isinstance(parts, Mapping)
        }
        return cls(
            dataset=get("dataset", str),
            loss=get("loss", str),
            prune=None if prune is None else _number(prune, f"{where}: prune"),
            params=dict(get("params", Mapping)),
            n_parameters=get("n_parameters", int),
            validation=validation,
            test=_figures(get("test", Mapping), f"{where}: test"),
            seeds=tuple(get("seeds", list)),
            baselines=baselines,
            fingerprint=fingerprint,
            search=dict(get("search", Mapping, optional=True)),
            teacher=dict(get("teacher", Mapping, optional=True)),
            cost={str(n): _number(v, f"{where}: cost.{n}") for n, v in get("cost", Mapping, optional=True).items()},
            weighed=str(document.get("weighed", "parameters")),
            sizes={
                str(name): parts["n_parameters"]
                for name, parts in get("baselines", Mapping, optional=True).items()
                if isinstance(parts, Mapping) and isinstance(parts.get("n_parameters"), int)
            },
        )

    def document(self) -> dict[str, Any]:
        """The compact form kept in the store; :meth:`read` takes it back."""
        return {
            "dataset": self.dataset,
            "loss": self.loss,
            "prune": self.prune,
            "params": self.params,
            "n_parameters": self.n_parameters,
            "validation": {name: figure.document() for name, figure in self.validation.items()},
            "test": {name: figure.document() for name, figure in self.test.items()},
            "seeds": list(self.seeds),
            "baselines": {
                name: {
                    "test": {key: figure.document() for key, figure in figures.items()},
                    **({"n_parameters": self.sizes[name]} if name in self.sizes else {}),
                }
                for name, figures in self.baselines.items()
            },
            "teacher": self.teacher,
            **({"cost": self.cost} if self.cost else {}),
            "search": {key: self.search[key] for key in _KEPT if key in self.search},
            "fingerprint": self.fingerprint,
        }


class _Reader:
    """Gets a key of a document or says which is missing and where."""

    def __init__(self, document: Mapping[str, Any], where: str) -> None:
        self.document, self.where = document, where

    def __call__(self, key: str, kind: type, optional: bool = False) -> Any:
        value = self.document.get(key)
        if value is None and optional:
            return {}
        if key not in self.document:
            raise UserError(f"{self.where}: is damaged, it has no {key}")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise UserError(f"{self.where}: is damaged, {key} is {value!r}")
        return value


def _figures(values: Mapping[str, Any], where: str) -> Figures:
    return {str(name): Figure.read(value, f"{where}.{name}") for name, value in values.items()}


def _number(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{where}: is {value!r}, not a number")
    return float(value)
