"""What a forecast needs of a dataset once a network is trained: everything but the readings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdsearch.data import graph
from kdsearch.data.dataset import MINUTES_PER_DAY, Dataset
from kdsearch.data.declaration import MPH
from kdsearch.data.usual import scored_day

__all__ = ["Site"]


@dataclass(frozen=True, eq=False)
class Site:
    """The sensors that a network was trained for; it travels with the network's weights.

    Attributes:
        name, fingerprint: of the dataset.
        weights: float64 ``[N, N]`` weighted adjacency.
        mean, std: of the training windows, mph.
        unit: of the raw readings, a key of :data:`kdsearch.data.declaration.MPH`.
        missing: what marks a missing reading, ``"nan"``, or ``"zero"`` as well.
        minutes: between two readings.
        n_his, n_pred: readings that a forecast sees, and steps that it looks ahead.
        usual: float32 ``[33, N]``, the usual day as a Fourier series in mph (:mod:`kdsearch.data.usual`); None in files
            of earlier versions, whose networks do not look at it.
    """

    name: str
    fingerprint: str
    weights: NDArray[np.float64]
    mean: float
    std: float
    unit: str = "mph"
    missing: str = "nan"
    minutes: int = 5
    n_his: int = 12
    n_pred: int = 9
    usual: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> Site:
        """The site of a dataset."""
        return cls(
            name=dataset.name,
            fingerprint=dataset.fingerprint,
            weights=dataset.weights,
            mean=dataset.mean,
            std=dataset.std,
            unit=dataset.unit,
            missing=dataset.missing,
            minutes=dataset.minutes_per_step,
            n_his=dataset.n_his,
            n_pred=dataset.n_pred,
            usual=dataset.usual,
        )

    @property
    def n_nodes(self) -> int:
        """Number of sensors."""
        return len(self.weights)

    @property
    def mph(self) -> float:
        """Miles per hour in one unit of a reading."""
        return MPH[self.unit]

    @property
    def ahead(self) -> list[int]:
        """Minutes from the last reading to each step of a forecast: 5, 10, ... 45."""
        return [self.minutes * step for step in range(1, self.n_pred + 1)]

    @property
    def steps_per_day(self) -> int:
        """Readings a day."""
        return MINUTES_PER_DAY // self.minutes

    @cached_property
    def usual_day(self) -> NDArray[np.float32] | None:
        """:attr:`usual` at every step of a day, z-scored, float32 ``[steps_per_day, N]``."""
        return None if self.usual is None else scored_day(self.usual, self.steps_per_day, self.mean, self.std)

    @cached_property
    def graph_kernel(self) -> NDArray[np.float32]:
        """Chebyshev basis of the scaled Laplacian, float32 ``[3, N, N]``, as :attr:`Dataset.graph_kernel`."""
        return graph.chebyshev_basis(graph.scaled_laplacian(self.weights)).astype(np.float32)

    def plain(self) -> dict[str, Any]:
        """As plain values and arrays, for a file: most pairs of sensors have no edge and are left out."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "weights"}
        edges = np.argwhere(self.weights)
        return {**values, "n_nodes": self.n_nodes, "edges": edges, "edge_weights": self.weights[tuple(edges.T)]}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Site:
        """Read what :meth:`plain` gave.

        Raises:
            KeyError, TypeError, ValueError, IndexError: it is none.
        """
        rest = dict(values)
        weights = np.zeros((rest["n_nodes"], rest.pop("n_nodes")))
        edges = np.asarray(rest.pop("edges"))
        weights[edges[:, 0], edges[:, 1]] = np.asarray(rest.pop("edge_weights"))
        usual = rest.pop("usual", None)
        if usual is not None:
            usual = np.asarray(usual, np.float32)
            if usual.ndim != 2 or len(usual) % 2 == 0 or usual.shape[1] != len(weights):
                raise ValueError(f"the usual day of {len(weights)} sensors cannot be {list(usual.shape)}")
        return cls(weights=weights, usual=usual, **rest)
