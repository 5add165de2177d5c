"""A dataset: whole days of speeds, the road graph, and how the days are divided."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kdsearch.data import graph
from kdsearch.data.usual import scored_day, usual_series
from kdsearch.errors import UserError

__all__ = ["FULL_TRAINING_WINDOWS", "MINUTES_PER_DAY", "Dataset", "Part", "Split"]

Part = Literal["train", "validation", "test"]

MINUTES_PER_DAY = 1440
# Windows in the 34 training days of PeMSD7, 268 a day: the yardstick for the length of an epoch.
FULL_TRAINING_WINDOWS = 9112
_MINIBATCH = 50  # of the paper (Table 2)
# Of a weight, which lies between 0 and 1, as far as it tells one graph from another.
_DECIMALS = 9


@dataclass(frozen=True, eq=False)
class Split:
    """Whole days in time order: the first ``train``, then ``validation``, then ``test``."""

    train: int
    validation: int
    test: int

    @property
    def total(self) -> int:
        """Days in all three parts."""
        return self.train + self.validation + self.test

    def range(self, part: Part) -> slice:
        """The days of one part."""
        if part == "train":
            return slice(0, self.train)
        if part == "validation":
            return slice(self.train, self.train + self.validation)
        if part == "test":
            return slice(self.train + self.validation, self.total)
        raise ValueError(f"unknown part {part!r}")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Speeds of ``N`` sensors over whole days.

    Attributes:
        name: what the user calls it.
        speeds: float32 ``[days, steps_per_day, N]`` in mph, NaN where a reading is missing.
        weights: float64 ``[N, N]`` weighted adjacency, symmetric, zero diagonal.
        split: how the days are divided.
        space: stem of the search space that belongs to it.
        n_his: steps a forecast sees.
        n_pred: steps it looks ahead.
        notes: sentences for the user, such as what was dropped while reading.
        distances: float64 ``[N, N]`` in metres, symmetric, infinite where none is known; None where the graph was given
            as weights. No network sees them: they tell where a sensor lies on a map.
        unit: of the raw readings, which ``speeds`` are converted from.
        missing: what marks a missing raw reading, ``"nan"``, or ``"zero"`` as well.

    Raises:
        UserError: the parts do not fit together, there are fewer days than the split names, or a sensor has no
            valid reading in the training days.
    """

    name: str
    speeds: NDArray[np.float32]
    weights: NDArray[np.float64]
    split: Split
    space: str
    n_his: int = 12
    n_pred: int = 9
    notes: tuple[str, ...] = ()
    distances: NDArray[np.float64] | None = None
    unit: str = "mph"
    missing: str = "nan"

    def __post_init__(self) -> None:
        if self.speeds.ndim != 3:
            raise UserError(
                f"dataset {self.name!r}: speeds must be [days, steps a day, sensors], found {self.speeds.shape}"
            )
        days, steps, n = self.speeds.shape
        if min(self.split.train, self.split.validation, self.split.test) < 1:
            raise UserError(f"dataset {self.name!r}: every part of the split needs at least one day")
        if days < self.split.total:
            s = self.split
            raise UserError(
                f"dataset {self.name!r} has {days} whole day{'s' if days != 1 else ''} but its split "
                f"{s.train}/{s.validation}/{s.test} needs {s.total}: give more days or a smaller split"
            )
        if MINUTES_PER_DAY % steps:
            raise UserError(
                f"dataset {self.name!r}: {steps} steps a day are no whole number of minutes each: "
                f"steps_per_day must divide {MINUTES_PER_DAY}"
            )
        if steps < self.window:
            raise UserError(
                f"dataset {self.name!r}: a day has {steps} steps, fewer than one window of "
                f"{self.n_his} + {self.n_pred}: a finer resolution is needed"
            )
        if self.weights.shape != (n, n):
            raise UserError(
                f"dataset {self.name!r}: the graph is {'x'.join(map(str, self.weights.shape))} but the speeds have "
                f"{n} sensors: give the graph of the same sensors in the same order"
            )
        dead = np.flatnonzero(np.isnan(self.days("train")).all(axis=(0, 1)))
        if dead.size:
            more = f" and {dead.size - 1} more" if dead.size > 1 else ""
            raise UserError(
                f"dataset {self.name!r}: sensor {dead[0]} (counted from 0){more} has no valid reading in the "
                f"{self.split.train} training days: remove it from the speeds and the graph"
            )
        for part in ("validation", "test"):
            for step, minutes in self.horizons.items():
                first = self.n_his + step - 1
                if np.isnan(self.days(part)[:, first : first + self.windows_per_day]).all():
                    raise UserError(
                        f"dataset {self.name!r}: its {part} days have no valid reading to compare a forecast of "
                        f"{minutes} minutes with: give days that were measured, or another split"
                    )

    @property
    def window(self) -> int:
        """Steps in one window, history and horizon together."""
        return self.n_his + self.n_pred

    @property
    def n_nodes(self) -> int:
        """Number of sensors."""
        return int(self.speeds.shape[2])

    @property
    def steps_per_day(self) -> int:
        """Readings a day."""
        return int(self.speeds.shape[1])

    @property
    def minutes_per_step(self) -> int:
        """Minutes between readings."""
        return MINUTES_PER_DAY // self.steps_per_day

    @property
    def horizons(self) -> dict[int, int]:
        """The steps that are reported and the minutes ahead they are: ``{3: 15, 6: 30, 9: 45}`` at 288 steps a day."""
        thirds = sorted({max(1, self.n_pred * k // 3) for k in (1, 2, 3)})
        return {step: step * self.minutes_per_step for step in thirds}

    @property
    def windows_per_day(self) -> int:
        """Windows that lie wholly within one day (268 of 288 steps with windows of 21)."""
        return self.steps_per_day - self.window + 1

    @property
    def passes_per_epoch(self) -> int:
        """Passes over the training windows that make an epoch as many updates as one pass over the full PeMSD7.

        Fewer windows than a minibatch of the paper are one update a pass all the same.
        """
        windows = self.split.train * self.windows_per_day
        return max(1, round(FULL_TRAINING_WINDOWS / max(windows, _MINIBATCH)))

    def days(self, part: Part) -> NDArray[np.float32]:
        """A view of one part, ``[D, steps_per_day, N]`` in mph with NaN for missing."""
        return self.speeds[self.split.range(part)]

    @cached_property
    def n_missing(self) -> int:
        """Missing readings in all three parts."""
        return int(np.isnan(self.speeds[: self.split.total]).sum())

    @cached_property
    def _moments(self) -> tuple[float, float]:
        train = self.days("train").astype(np.float64)
        step = np.arange(self.steps_per_day)
        # How many windows of a day contain a step: the z-score of the original code is over overlapping windows.
        seen = np.minimum.reduce(
            [step + 1, self.steps_per_day - step, np.full_like(step, min(self.window, self.windows_per_day))]
        )
        weight = np.where(np.isnan(train), 0.0, seen[None, :, None])
        value = np.nan_to_num(train)
        total = weight.sum()
        mean = float((weight * value).sum() / total)
        return mean, float(np.sqrt((weight * (value - mean) ** 2).sum() / total))

    @property
    def mean(self) -> float:
        """Mean over the training windows in mph, missing readings left out."""
        return self._moments[0]

    @property
    def std(self) -> float:
        """Standard deviation over the training windows in mph; 1 if every reading is the same."""
        return self._moments[1] or 1.0

    @cached_property
    def graph_kernel(self) -> NDArray[np.float32]:
        """Chebyshev basis ``[I, L~, 2 L~^2 - I]`` of the scaled Laplacian, float32 ``[3, N, N]``."""
        return graph.chebyshev_basis(graph.scaled_laplacian(self.weights)).astype(np.float32)

    @cached_property
    def usual(self) -> NDArray[np.float32]:
        """The usual day of the training days as a Fourier series (:mod:`kdsearch.data.usual`), ``[33, N]`` in mph."""
        return usual_series(self.days("train").astype(np.float64))

    @cached_property
    def usual_day(self) -> NDArray[np.float32]:
        """The same at every step of a day, z-scored, float32 ``[steps_per_day, N]``."""
        return scored_day(self.usual, self.steps_per_day, self.mean, self.std)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any reading, weight, the split or the window."""
        digest = hashlib.sha256()
        s = self.split
        digest.update(repr((self.speeds.shape, s.train, s.validation, s.test, self.n_his, self.n_pred)).encode())
        # NaNs carry payload bits that mean nothing: a missing reading is hashed as one value.
        digest.update(np.ascontiguousarray(np.nan_to_num(self.speeds, nan=-1.0)).tobytes())
        # The exponential function of another processor may differ in the last bit, and the data would be other data.
        digest.update((self.weights.round(_DECIMALS) + 0.0).tobytes())
        return digest.hexdigest()[:16]
