"""The last readings of all sensors, read from a file as the readings of a dataset are."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdsearch.data.declaration import MPH
from kdsearch.data.readers import FASTEST_MPH, header, read_speeds
from kdsearch.deploy.spec import Spec
from kdsearch.errors import UserError

__all__ = ["Recent", "read_recent"]


class Recent(NamedTuple):
    """What a forecast starts from.

    Attributes:
        window: float32 ``[1, history, sensors]`` in the model's unit; NaN where a sensor has read nothing so far.
        names: of the sensors, from a csv's header; else their numbers from 0.
        silent: how many sensors have no reading in the whole file.
    """

    window: NDArray[np.float32]
    names: list[str]
    silent: int


def read_recent(
    path: Path, spec: Spec, key: str | None = None, channel: int | None = None, skip_columns: int = 0
) -> Recent:
    """Read a csv, npz or npy file, one row a time step, oldest first, and take its end.

    A missing reading becomes the sensor's last one in the file, however long ago; rows before the window are read for
    that.

    Args:
        path: the file; anything that is not ``.npz`` or ``.npy`` is read as csv.
        spec: of the model.
        key: name of the array in an npz with several.
        channel: which of the last axis of an array ``[T, N, C]``.
        skip_columns: leading csv columns (time stamps) to leave out.

    Raises:
        UserError: the file is unreadable, has too few rows, other sensors, or holds what is no speed.
    """
    format = path.suffix[1:].lower() if path.suffix.lower() in (".npz", ".npy") else "csv"
    if format == "csv" and channel is not None:
        raise UserError(f"--channel is for arrays of npz and npy files, {path} is read as csv")
    if format != "npz" and key is not None:
        raise UserError(f"--key is for npz files, {path} is read as {format}")
    if format != "csv" and skip_columns:
        raise UserError(f"--skip-columns is for csv files, {path} is read as {format}")
    readings = read_speeds(path, format, key=key, channel=channel, skip_columns=skip_columns)
    rows, sensors = readings.shape
    if sensors != spec.sensors:
        hint = "; time stamps are left out with --skip-columns" if format == "csv" and sensors > spec.sensors else ""
        raise UserError(
            f"{path} has {sensors} columns and the model forecasts the {spec.sensors} sensors of {spec.dataset}: "
            f"give these, in the same order{hint}"
        )
    if rows < spec.history:
        raise UserError(
            f"{path} has {rows} row{'s' if rows > 1 else ''}: a forecast needs the last {spec.history}, "
            f"one every {spec.minutes} minutes"
        )
    if spec.missing == "zero":
        readings[readings == 0] = np.nan
    _refuse_other_quantity(readings, path, spec)
    step = np.arange(rows)[:, None]
    last = np.maximum.accumulate(np.where(np.isnan(readings), -1, step), axis=0)
    filled = np.where(last >= 0, np.take_along_axis(readings, np.maximum(last, 0), axis=0), np.nan)
    names = header(path, skip_columns) if format == "csv" else None
    if names is not None and len(names) != sensors:
        names = None
    return Recent(
        window=filled[None, -spec.history :].astype(np.float32),
        names=names or [str(i) for i in range(sensors)],
        silent=int(np.isnan(filled[-1]).sum()),
    )


def _refuse_other_quantity(readings: NDArray[np.float64], path: Path, spec: Spec) -> None:
    fastest = float(np.nanmax(readings, initial=0.0))
    if fastest * MPH[spec.unit] > FASTEST_MPH:
        raise UserError(
            f"{path} reads {fastest:g} {spec.unit}, faster than any car: the model wants speeds in {spec.unit}"
        )
