"""The published file formats, read strictly: a file that is not what it should be is answered with one sentence."""

from __future__ import annotations

import contextlib
import csv
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdsearch.errors import UserError

__all__ = ["FASTEST_MPH", "header", "read_edges", "read_matrix", "read_speeds", "read_table"]

Array = NDArray[np.float64]

# No loop detector reports more; flow or occupancy taken for speed does.
FASTEST_MPH = 250.0


def read_speeds(
    path: Path, format: str, *, key: str | None = None, channel: int | None = None, skip_columns: int = 0
) -> Array:
    """Readings of all sensors, one row a time step.

    Args:
        path: the file.
        format: ``csv``, ``npz`` or ``npy``.
        key: the array's name in an npz with several.
        channel: which of the last axis of a ``[T, N, C]`` array.
        skip_columns: leading csv columns (time stamps) to leave out.

    Returns:
        float64 ``[T, N]``, NaN where a cell is empty or NaN.

    Raises:
        UserError: the file cannot be read as such, or holds infinite or negative numbers.
    """
    if format == "csv":
        speeds, first_line = read_table(path, skip_columns=skip_columns, readings=True)
    else:
        speeds, first_line = _pick_channel(_read_array(path, format, key), channel, path), None
    wrong = np.isinf(speeds) | (speeds < 0)
    if wrong.any():
        t, i = (int(k) for k in np.argwhere(wrong)[0])
        place = f"step {t}" if first_line is None else f"line {first_line + t}"
        raise UserError(
            f"{path}: {place}, sensor {i} (counted from 0) reads {speeds[t, i]:g}: a speed is a number from 0 up; "
            "leave a missing reading empty or write nan"
        )
    return speeds


def read_matrix(path: Path) -> Array:
    """A square matrix of distances, float64 ``[N, N]``; an empty cell, nan or inf is a pair without a road."""
    matrix, first_line = read_table(path)
    if matrix.shape[0] != matrix.shape[1]:
        raise UserError(
            f"{path}: a matrix between sensors is square, this one is {matrix.shape[0]} x {matrix.shape[1]}; "
            'an edge list needs format = "edges"'
        )
    matrix = np.where(np.isnan(matrix), np.inf, matrix)
    if (matrix < 0).any():
        i, j = (int(k) for k in np.argwhere(matrix < 0)[0])
        place = f"line {first_line + i}, column {j + 1}"
        raise UserError(f"{path}: {place} is negative ({matrix[i, j]:g}): a distance or weight is not")
    return matrix


def read_edges(path: Path, n_nodes: int) -> Array:
    """An edge list ``from,to,cost`` of sensors counted from 0, float64 ``[E, 3]``."""
    edges, first_line = read_table(path)
    if edges.shape[1] != 3:
        raise UserError(f"{path}: an edge list has three columns, from,to,cost; this one has {edges.shape[1]}")
    ends = edges[:, :2]
    bad = ~np.isfinite(edges).all(axis=1) | (edges[:, 2] < 0)
    with np.errstate(invalid="ignore"):
        bad |= ((ends < 0) | (ends >= n_nodes) | (ends != np.floor(ends))).any(axis=1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        text = ",".join(f"{v:g}" for v in edges[row])
        raise UserError(
            f"{path}: line {first_line + row} ({text}) is no edge: from and to are sensors 0 to {n_nodes - 1} and "
            "the cost a distance from 0 up"
        )
    return edges


def read_table(path: Path, skip_columns: int = 0, readings: bool = False) -> tuple[Array, int]:
    """Comma-separated numbers; an empty cell is NaN.

    A first row in which no cell is a number, or in which every one is a whole number too large for a speed (sensor
    ids), is a header. With ``readings`` so is one that counts the columns, from 0 or 1, as pandas writes it; the first
    row of a matrix of distances may look like that.

    Returns:
        float64 ``[rows, columns]`` and the line of the file, from 1, on which its first row stands.
    """
    lines = _lines(path)
    first = 0
    while first < len(lines) and not lines[first].strip():
        first += 1
    if first < len(lines) and _is_header(lines[first].split(",")[skip_columns:], path, readings):
        first += 1
    rows = lines[first:]
    if not rows:
        raise UserError(f"{path} holds no numbers: is it the right file?")
    width = len(rows[0].split(","))
    if skip_columns >= width:
        raise UserError(f"{path}: skip_columns = {skip_columns} leaves nothing of {width} columns")
    try:
        table = np.loadtxt(
            rows, delimiter=",", dtype=np.float64, comments=None, ndmin=2, usecols=range(skip_columns, width)
        )
        # usecols ignores cells past the first row's, and loadtxt skips empty lines: both change what a row means.
        if len(table) == len(rows) and all(row.count(",") == width - 1 for row in rows):
            return table, first + 1
    except ValueError:
        pass
    return _slow_table(path, rows, first + 1, width, skip_columns), first + 1


def header(path: Path, skip_columns: int = 0) -> list[str] | None:
    """The names over the columns of a csv; None where its first row holds numbers."""
    first = next(line for line in _lines(path) if line.strip())
    if not _is_header(first.split(",")[skip_columns:], path, counted=True):
        return None
    names = first.split(",")
    if '"' in first:
        with contextlib.suppress(csv.Error):  # a quoted name without an end
            names = next(csv.reader([first]))
    return [name.strip() for name in names[skip_columns:]]


def _slow_table(path: Path, rows: Sequence[str], first_line: int, width: int, skip: int) -> Array:
    """Cell by cell, for empty cells and for the exact place of a mistake."""
    table = np.empty((len(rows), width - skip))
    for r, row in enumerate(rows):
        cells = row.split(",")
        if len(cells) != width:
            what = "is empty" if not row.strip() else f"has {len(cells)} column{'s' if len(cells) > 1 else ''}"
            raise UserError(f"{path}: line {first_line + r} {what} where line {first_line} has {width}: mend that line")
        for c, cell in enumerate(cells[skip:], start=skip):
            value = _number(cell)
            if value is None:
                hint = ""
                if c == 0:
                    hint = "; if the first column is a time stamp, leave it out (skip_columns = 1, --skip-columns 1)"
                raise UserError(
                    f"{path}: line {first_line + r}, column {c + 1} is {_show(cell)}, not a number: "
                    f"mend it, or leave it empty if the reading is missing{hint}"
                )
            table[r, c - skip] = value
    return table


def _lines(path: Path) -> list[str]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: line {line} is not UTF-8 text: save the file as plain comma-separated text"
        ) from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise UserError(f"{path} is empty: is it the right file?")
    return lines


def _is_header(cells: Sequence[str], path: Path, counted: bool = False) -> bool:
    values = [_number(cell) for cell in cells]
    filled = [v for v, cell in zip(values, cells, strict=True) if cell.strip()]
    if not filled:
        return False
    if all(v is None for v in filled):
        separator = next((s for s in (";", "\t") if s in cells[0]), None)
        if separator is not None and _number(cells[0].split(separator)[0]) is not None:
            raise UserError(f"{path}: columns are parted by {separator!r}; part them by commas")
        return True
    counts = [[str(i + first) for i in range(len(cells))] for first in (0, 1)]
    if counted and len(cells) > 1 and [cell.strip() for cell in cells] in counts:
        return True
    return len(filled) == len(cells) > 3 and all(
        v is not None and math.isfinite(v) and v > FASTEST_MPH and v == int(v) and "." not in cell
        for v, cell in zip(values, cells, strict=True)
    )


def _number(cell: str) -> float | None:
    cell = cell.strip()
    if not cell:
        return math.nan
    try:
        # float() takes 1_000 and digits of other scripts; loadtxt does not, and neither does the format.
        return float(cell) if cell.isascii() and "_" not in cell else None
    except ValueError:
        return None


def _show(cell: str) -> str:
    cell = cell.strip()
    return repr(cell if len(cell) <= 24 else cell[:21] + "...")


def _read_array(path: Path, format: str, key: str | None) -> NDArray[Any]:
    """One numeric array of an npy or npz file; pickles are refused."""
    try:
        with path.open("rb") as file:
            if format == "npy":
                array = np.lib.format.read_array(file, allow_pickle=False)
                return _numeric(array, path)
            opened = np.load(file, allow_pickle=False)
            if not isinstance(opened, np.lib.npyio.NpzFile):
                raise UserError(f'{path} is no npz archive; a single array needs format = "npy"')
            with opened as archive:
                names = list(archive.files)
                if key is None and len(names) == 1:
                    key = names[0]
                if key not in names:
                    held = ", ".join(names) or "nothing"
                    asked = f"has no array {key!r}" if key else "holds several arrays"
                    raise UserError(f"{path} {asked}: it holds {held}; name one (key, --key)")
                return _numeric(archive[key], path)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path} cannot be read: no such file") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise UserError(f"{path} claims an array larger than this machine's memory: it is damaged") from error
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, SyntaxError, TypeError, NotImplementedError) as error:
        raise UserError(f"{path} is no readable {format} file ({error}): it may be damaged, or hold objects") from error
    except Exception as error:
        # zlib.error, struct.error, RuntimeError (encrypted archives), tokenize errors of a mangled header, ...
        raise UserError(f"{path} is no readable {format} file ({error!r}): it may be damaged") from error


def _numeric(array: Any, path: Path) -> NDArray[Any]:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        kind = getattr(array, "dtype", type(array).__name__)
        raise UserError(f"{path}: speeds are numbers, this array holds {kind}")
    if array.size == 0:
        raise UserError(f"{path}: the array is empty, its shape is {array.shape}")
    return array


def _pick_channel(array: NDArray[Any], channel: int | None, path: Path) -> Array:
    if array.ndim == 3:
        if channel is None and array.shape[2] == 1:
            channel = 0
        if channel is None:
            raise UserError(
                f"{path}: {array.shape} is steps x sensors x channels: say which is speed (channel, --channel)"
            )
        if not 0 <= channel < array.shape[2]:
            raise UserError(f"{path}: channel {channel} asked for, there are 0 to {array.shape[2] - 1}")
        array = array[:, :, channel]
    elif array.ndim != 2:
        raise UserError(f"{path}: the array is {array.shape}; speeds are steps x sensors, or x channels")
    elif channel not in (None, 0):
        raise UserError(f"{path}: channel {channel} asked for, but the array {array.shape} has no channels")
    return np.ascontiguousarray(array, dtype=np.float64)
