"""From road distances to the graph kernel of the network (Yu et al. 2018, section 4.2 and Eq. 10)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kdsearch.errors import UserError

__all__ = [
    "METRES",
    "chebyshev_basis",
    "distances_from_edges",
    "gaussian_kernel",
    "scaled_laplacian",
    "symmetric_distances",
]

Array = NDArray[np.float64]

METRES: dict[str, float] = {"m": 1.0, "km": 1000.0, "ft": 0.3048, "mi": 1609.344}
_KERNEL_LENGTH = 10000.0


def gaussian_kernel(distances: Array, sigma2: float = 0.1, epsilon: float = 0.5) -> Array:
    """Weights ``exp(-(d / 10000)^2 / sigma2)``, entries below ``epsilon`` dropped, zero diagonal.

    Args:
        distances: ``[N, N]`` in metres; infinite where there is no road.
        sigma2: width of the kernel, 0.1 in the original code.
        epsilon: the smallest weight that is kept, 0.5 in the original code (about 2,633 m).

    Returns:
        ``[N, N]`` weighted adjacency.
    """
    weights = np.exp(-((distances / _KERNEL_LENGTH) ** 2) / sigma2)
    weights[weights < epsilon] = 0.0
    np.fill_diagonal(weights, 0.0)
    return weights


def distances_from_edges(edges: Array, n_nodes: int) -> Array:
    """Symmetric distances of an edge list; a pair without an edge is infinitely far apart.

    Args:
        edges: rows ``(from, to, cost)`` with sensors counted from 0. Of several edges between a pair, in either
            direction, the shortest counts.
        n_nodes: number of sensors.

    Returns:
        ``[n_nodes, n_nodes]`` with a zero diagonal.
    """
    distances = np.full((n_nodes, n_nodes), np.inf)
    start, end = edges[:, 0].astype(np.int64), edges[:, 1].astype(np.int64)
    np.minimum.at(distances, (start, end), edges[:, 2])
    both: Array = np.minimum(distances, distances.T)
    np.fill_diagonal(both, 0.0)
    return both


def symmetric_distances(distances: Array, symmetrise: bool, where: str) -> Array:
    """The matrix itself if symmetric (to one part in a million), else the smaller of both directions if allowed.

    Raises:
        UserError: the matrix is asymmetric and ``symmetrise`` is false.
    """
    close = np.isclose(distances, distances.T, rtol=1e-6, atol=1e-6)
    if not symmetrise and not close.all():
        i, j = (int(k) for k in np.argwhere(~close)[0])
        raise UserError(
            f"{where}: the distance from sensor {i} to {j} is {distances[i, j]:g} but {distances[j, i]:g} the other "
            "way (counted from 0): mend the matrix, or set symmetrise = true to take the smaller"
        )
    smaller: Array = np.minimum(distances, distances.T)
    return smaller


def scaled_laplacian(weights: Array) -> Array:
    """``2 L / lambda_max - I`` of the normalised Laplacian ``L = I - D^-1/2 W D^-1/2``.

    A sensor without neighbours has degree 0 and a zero row in ``L``, as in the original code.
    """
    degree = weights.sum(axis=1)
    root = np.zeros_like(degree)
    np.divide(1.0, np.sqrt(degree), out=root, where=degree > 0)
    laplacian = np.diag((degree > 0).astype(np.float64)) - root[:, None] * weights * root[None, :]
    largest = float(np.linalg.eigvalsh(laplacian)[-1])
    # No edge at all: L is zero and any scale gives -I; 2 is the bound of the normalised Laplacian.
    scaled: Array = 2.0 * laplacian / (largest if largest > 1e-12 else 2.0) - np.eye(len(weights))
    return scaled


def chebyshev_basis(laplacian: Array) -> Array:
    """The Chebyshev polynomials of order 0, 1 and 2: ``[I, L~, 2 L~^2 - I]`` as ``[3, N, N]``."""
    identity = np.eye(len(laplacian))
    return np.stack([identity, laplacian, 2.0 * laplacian @ laplacian - identity])
