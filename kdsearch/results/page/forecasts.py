"""The winner's forecasts of the test days: errors by sensor, and a day of some sensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kdsearch.contents import WINNER
from kdsearch.errors import UserError

if TYPE_CHECKING:
    from kdsearch.data import Dataset

__all__ = ["Day", "Forecasts", "forecasts_of"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Day:
    """A sensor on a test day.

    Attributes:
        sensor: its number, counted from 0.
        day: number of the test day, counted from 1.
        why: what it was chosen for.
        truth: readings in mph ``[S]``, NaN where missing.
        ahead: by minutes ahead, forecasts in mph ``[S]`` at the time they are for; NaN where no window reaches.
    """

    sensor: int
    day: int
    why: str
    truth: Array
    ahead: Mapping[int, Array]


@dataclass(frozen=True)
class Forecasts:
    """What the winner does on the test days.

    Attributes:
        minutes_per_step: between readings.
        errors: MAE (mph) of each sensor by minutes ahead, ``[N]`` each; NaN where it has no reading.
        days: of the chosen sensors.
        places: of the sensors, ``[N, 2]`` in metres or in no unit.
        edges: pairs of sensors that the network's graph joins, ``[E, 2]``.
        measured: whether the places come from distances in metres.
    """

    minutes_per_step: int
    errors: Mapping[int, Array]
    days: Sequence[Day]
    places: Array
    edges: NDArray[np.intp]
    measured: bool


def forecasts_of(output: Path, dataset: Dataset, sensors: Sequence[int] = ()) -> Forecasts:
    """Forecast the test days with the winner's checkpoint.

    Args:
        output: folder of a finished search.
        dataset: the one it was searched on.
        sensors: to show; none: the slowest one, those with the largest and the median error, and the fastest.

    Raises:
        UserError: no checkpoint, another dataset, or a sensor that does not exist.
    """
    from kdsearch.results.page.layout import place
    from kdsearch.training.checkpoint import load_checkpoint
    from kdsearch.training.evaluate import forecast_days

    wrong = [s for s in sensors if not 0 <= s < dataset.n_nodes]
    if wrong:
        raise UserError(f"--sensors: {dataset.name} has sensors 0 to {dataset.n_nodes - 1}, there is no {wrong[0]}")
    model = load_checkpoint(output / WINNER).network(dataset)
    truth = dataset.days("test").astype(np.float64)
    ahead = forecast_days(model, dataset, "test")
    errors = {minutes: _mean(np.abs(line - truth), (0, 1)) for minutes, line in ahead.items()}
    chosen = dict.fromkeys(sensors, "chosen") if sensors else _chosen(truth, errors[max(errors)])
    days = []
    for sensor, why in chosen.items():
        speed = _mean(truth[:, :, sensor], 1)
        day = int(np.where(np.isnan(speed), np.inf, speed).argmin())
        days.append(Day(sensor, day + 1, why, truth[day, :, sensor], {m: v[day, :, sensor] for m, v in ahead.items()}))
    distances = dataset.distances
    edges = np.argwhere(np.triu(dataset.weights > 0, 1))
    measured = distances is not None
    if distances is None:
        # Weights fall with the square of the distance: all that is left of it.
        near = dataset.weights > 0
        distances = np.full(dataset.weights.shape, np.inf)
        distances[near] = np.sqrt(np.maximum(-np.log(np.minimum(dataset.weights[near], 1.0)), 1e-4))
    return Forecasts(dataset.minutes_per_step, errors, days, place(distances), edges, measured)


def _mean(values: Array, axis: int | tuple[int, ...]) -> Array:
    """Mean without the missing; NaN where all are missing, in silence."""
    there = np.isfinite(values)
    count = there.sum(axis=axis)
    total = np.where(there, values, 0.0).sum(axis=axis)
    out: Array = np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
    return out


def _chosen(truth: Array, errors: Array) -> dict[int, str]:
    """Sensors to show with what each was chosen for; those with many gaps would show the gaps."""
    whole = np.flatnonzero((np.isnan(truth).mean(axis=(0, 1)) <= 0.1) & np.isfinite(errors))
    if not whole.size:
        whole = np.flatnonzero(np.isfinite(errors))
    if not whole.size:
        return {}
    speed, by_error = _mean(truth, (0, 1))[whole], np.argsort(errors[whole], kind="stable")
    wanted = [
        (whole[by_error[-1]], "largest error"),
        (whole[speed.argmin()], "slowest on average"),
        (whole[by_error[len(by_error) // 2]], "median error"),
        (whole[by_error[0]], "smallest error"),
    ]
    found: dict[int, str] = {}
    for sensor, why in wanted:
        found[int(sensor)] = f"{found[int(sensor)]}, {why}" if int(sensor) in found else why
    return found
