"""``load``: from a name to a dataset."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdsearch.data import graph, readers
from kdsearch.data.catalog import KNOWN, PUBLISHED
from kdsearch.data.dataset import Dataset
from kdsearch.data.declaration import MPH, Declaration, read_declaration
from kdsearch.errors import UserError
from kdsearch.paths import home

__all__ = ["assemble", "load", "locate"]

# So many others at distance 0 may be rounding.
_FEW = 5


def load(name_or_path: str | Path, data_dir: str | Path | None = None) -> Dataset:
    """Load a dataset.

    Args:
        name_or_path: a known name, or the path of a TOML file that declares a dataset.
        data_dir: where raw files lie; else the environment variable ``KDSEARCH_DATA``, else (known datasets) the
            platform's cache folder.

    Raises:
        UserError: the name is unknown, or a file is missing, unreachable or wrong.
    """
    name, path = str(name_or_path), Path(name_or_path)
    if name == "demo":
        from kdsearch.data.simulate import demo

        return demo()
    if name in PUBLISHED:
        from kdsearch.data.download import fetch

        known = PUBLISHED[name]
        return assemble(known.declaration, fetch(known.speeds, name, data_dir), fetch(known.graph, name, data_dir))
    if path.suffix == ".toml":
        declaration = read_declaration(path)
        if declaration.name in KNOWN:
            raise UserError(f"{path}: name = {declaration.name!r} belongs to a published dataset: choose another name")
        return assemble(
            declaration,
            locate(declaration, declaration.speeds.file, data_dir),
            locate(declaration, declaration.graph.file, data_dir),
        )
    declared = Path("experiments", "datasets", f"{path.name}.toml")
    hint = f"; there is {declared}" if path.name and os.path.isfile(declared) else ""
    raise UserError(
        f"unknown dataset {name!r}: give one of {', '.join(KNOWN)}, or the path of a .toml file that declares one{hint}"
    )


def locate(declaration: Declaration, file: str, data_dir: str | Path | None = None) -> Path:
    """A declared file: in the data folder's subfolder of the dataset's name, in that folder, or beside the TOML file.

    Raises:
        UserError: it is in none of these; the message lists the places.
    """
    wanted = home(Path(file))
    if wanted.is_absolute():
        places = [wanted]
    else:
        folder = data_dir if data_dir is not None else os.environ.get("KDSEARCH_DATA") or None
        roots = [] if folder is None else [home(Path(folder))]
        places = [place for root in roots for place in (root / declaration.name / wanted, root / wanted)]
        if declaration.folder is not None:
            places.append(declaration.folder / wanted)
    for place in places:
        if os.path.isfile(place):  # False also for a name that is too long, where pathlib raises
            return place
    looked = ", ".join(str(place) for place in places)
    raise UserError(
        f"dataset {declaration.name!r}: no file {file}; looked for {looked}: say where it is with --data-dir, "
        "or try --dataset demo, which needs no file"
    )


def assemble(declaration: Declaration, speeds_file: Path, graph_file: Path) -> Dataset:
    """Read the two files of a declaration and put the dataset together."""
    notes: list[str] = []
    d = declaration
    readings = readers.read_speeds(
        speeds_file, d.speeds.format, key=d.speeds.key, channel=d.speeds.channel, skip_columns=d.speeds.skip_columns
    )
    readings *= MPH[d.speeds.unit]
    if d.missing == "zero":
        readings[readings == 0] = np.nan
    _refuse_other_quantity(readings, speeds_file)
    days = _whole_days(readings, speeds_file, d, notes)
    weights, distances = _graph(d, graph_file, days.shape[2], notes)
    _look_at_graph(weights, graph_file, d, notes)
    if len(days) > d.split.total:
        spare = len(days) - d.split.total
        notes.append(f"{d.name}: the last {spare} of {len(days)} days are in no part of the split and left out")
        days = days[: d.split.total]
    return Dataset(
        name=d.name,
        speeds=np.ascontiguousarray(days, dtype=np.float32),
        weights=weights,
        split=d.split,
        space=d.space,
        notes=tuple(notes),
        distances=distances,
        unit=d.speeds.unit,
        missing=d.missing,
    )


def _refuse_other_quantity(readings: NDArray[np.float64], path: Path) -> None:
    """Flow read as speed, or a wrong unit, is told rather than learned."""
    fast = readings > readers.FASTEST_MPH
    if fast.any():
        t, i = (int(k) for k in np.argwhere(fast)[0])
        raise UserError(
            f"{path}: step {t}, sensor {i} (counted from 0) reads {readings[t, i]:.1f} mph, faster than any car: "
            "is it the right file, channel and unit?"
        )


def _whole_days(readings: NDArray[np.float64], path: Path, d: Declaration, notes: list[str]) -> NDArray[np.float64]:
    """``[T, N] -> [days, steps_per_day, N]``: a partial first and last day is dropped, with a note."""
    steps = d.steps_per_day
    head = (steps - d.first_step) % steps
    if head:
        notes.append(f"{d.name}: the first {min(head, len(readings))} steps are a partial day and left out")
    rest = readings[head:]
    tail = len(rest) % steps
    top = np.nan_to_num(readings[0]) / MPH[d.speeds.unit]
    if tail == 1 and _counts(top, readings[1:] / MPH[d.speeds.unit]):
        shown = ", ".join(f"{v:.4g}" for v in top[:4]) + (", ..." if len(top) > 4 else "")
        raise UserError(
            f"{path}: its first row ({shown}) looks like a header of numbers, and there is one row more than whole "
            "days: remove that row, or, if it was measured, the last one"
        )
    if tail and not d.drop_incomplete_days:
        raise UserError(
            f"{path}: {len(rest)} steps are no whole number of days of {steps}: mend the file, or set "
            "drop_incomplete_days = true to leave the last one out"
        )
    if tail:
        notes.append(f"{d.name}: the last {tail} steps are a partial day and left out")
    return rest[: len(rest) - tail].reshape(-1, steps, readings.shape[1])


def _counts(row: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Whether readings are whole numbers that only rise, as those over some of pandas' columns, and unlike the rest."""
    if len(row) < 3 or not len(others) or not np.allclose(row, row.round(), atol=1e-6) or (np.diff(row) < 0.5).any():
        return False
    with np.errstate(invalid="ignore"):
        outside = (row < np.fmin.reduce(others)) | (row > np.fmax.reduce(others))
    return bool(outside.mean() >= 0.5)


def _graph(
    d: Declaration, path: Path, n_nodes: int, notes: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Weights, and the distances in metres that they were made from; None where the file holds weights."""
    if d.graph.format == "edges":
        distances = graph.distances_from_edges(readers.read_edges(path, n_nodes), n_nodes)
        _look_at_distances(distances, path, d, notes)
    else:
        matrix = readers.read_matrix(path)
        if len(matrix) != n_nodes:
            raise UserError(
                f"{path} has {len(matrix)} sensors but the speeds have {n_nodes}: give the graph of the same sensors "
                "in the same order"
            )
        if d.graph.format == "weights":
            return _given_weights(matrix, d.graph.symmetrise, path), None
        _look_at_distances(matrix, path, d, notes)
        distances = graph.symmetric_distances(matrix, d.graph.symmetrise, str(path))
    metres = distances * graph.METRES[d.graph.unit]
    return graph.gaussian_kernel(metres, d.graph.sigma2, d.graph.epsilon), metres


def _look_at_distances(distances: NDArray[np.float64], path: Path, d: Declaration, notes: list[str]) -> None:
    """Sensors at distance 0 get weight 1: right at one place, a mistake where 0 stands for no road.

    At one place everyone is at distance 0 from everyone; sensors that are so from those of another road are not among
    each other.
    """
    n = len(distances)
    if d.graph.symmetrise:
        distances = np.minimum(distances, distances.T)
    none = (distances == 0) & ~np.eye(n, dtype=bool)
    most = int(none.sum(axis=1).max(initial=0))
    together = none | np.eye(n, dtype=bool)
    places = bool(((together.astype(np.float32) @ together > 0) == together).all())
    if n > 2 and ((most > _FEW and not places) or none.sum() >= 0.5 * n * (n - 1)):
        sensor = int(none.sum(axis=1).argmax())
        raise UserError(
            f"{path}: sensor {sensor} (counted from 0) is at distance 0 from {most} others, which would join them as "
            "closely as can be: leave a pair without a road out or its cell empty (or inf), give sensors of one place "
            'a small distance, or, if these are weights and not distances, say graph.format = "weights"'
        )
    if none.any():
        pairs = int(np.triu(none | none.T).sum())
        notes.append(f"{d.name}: {pairs} pair{'s' if pairs > 1 else ''} of sensors at distance 0, of weight 1")


def _look_at_graph(weights: NDArray[np.float64], path: Path, d: Declaration, notes: list[str]) -> None:
    """No road at all is a mistake; a sensor without one is told."""
    alone = np.flatnonzero(~(weights > 0).any(axis=1))
    if len(weights) > 1 and len(alone) == len(weights):
        if d.graph.format == "weights":
            raise UserError(f"{path}: no two sensors are joined, all weights between them are 0: is it the right file?")
        raise UserError(
            f"{path}: no two sensors are near enough to be joined: is graph.unit = {d.graph.unit!r} right, or "
            "graph.epsilon too high?"
        )
    if len(weights) > 1 and alone.size:
        which = ", ".join(map(str, alone[:5])) + (", ..." if alone.size > 5 else "")
        notes.append(f"{d.name}: {alone.size} of {len(weights)} sensors have no neighbour near enough: {which}")


def _given_weights(matrix: NDArray[np.float64], symmetrise: bool, path: Path) -> NDArray[np.float64]:
    weights = np.where(np.isinf(matrix), 0.0, matrix)
    if symmetrise:
        weights = np.maximum(weights, weights.T)
    elif not np.allclose(weights, weights.T, rtol=1e-6, atol=1e-9):
        raise UserError(f"{path}: the weights are not symmetric: mend them, or set symmetrise = true for the larger")
    weights = (weights + weights.T) / 2
    np.fill_diagonal(weights, 0.0)
    return weights
