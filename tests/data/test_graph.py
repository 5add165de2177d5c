from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.data import graph, load
from kdsearch.errors import UserError
from tests.conftest import DECLARATIONS


@pytest.mark.real
def test_the_graph_of_pemsd7_has_the_published_number_of_edges(real_data: Path) -> None:
    weights = load(DECLARATIONS / "pemsd7-week.toml", real_data).weights
    assert np.count_nonzero(weights) == 1664
    assert np.array_equal(weights, weights.T)
    assert not weights.diagonal().any()


@pytest.mark.real
def test_the_graph_of_pemsd8_joins_listed_pairs_and_no_others(real_data: Path) -> None:
    weights = load(DECLARATIONS / "pemsd8-head.toml", real_data).weights
    rows = (real_data / "pemsd8-head" / "distance.csv").read_text().split()[1:]
    pairs = {frozenset((int(a), int(b))) for a, b, _ in (row.split(",") for row in rows)}
    found = {frozenset((int(i), int(j))) for i, j in np.argwhere(weights > 0)}
    # The one listed pair that is missing is too far apart for the threshold.
    assert found <= pairs
    far = {frozenset((int(a), int(b))) for a, b, c in (row.split(",") for row in rows) if float(c) > 2633}
    assert found == pairs - far


def test_kernel_keeps_what_the_formula_keeps() -> None:
    d = np.array([[0.0, 2632.0, 2633.0], [2632.0, 0.0, np.inf], [2633.0, np.inf, 0.0]])
    w = graph.gaussian_kernel(d)
    assert w[0, 1] == pytest.approx(np.exp(-((0.2632) ** 2) / 0.1))
    assert w[0, 2] == 0.0  # exp(-(0.2633)^2 / 0.1) = 0.49993, below one half
    assert w[1, 2] == 0.0
    assert not w.diagonal().any()


def test_parameters_of_the_kernel_can_be_changed() -> None:
    d = np.array([[0.0, 5000.0], [5000.0, 0.0]])
    assert graph.gaussian_kernel(d)[0, 1] == 0.0
    assert graph.gaussian_kernel(d, sigma2=1.0)[0, 1] == pytest.approx(np.exp(-0.25))
    assert graph.gaussian_kernel(d, epsilon=0.05)[0, 1] == pytest.approx(np.exp(-2.5))


def test_edges_are_symmetrised_with_the_shortest_and_the_rest_is_infinitely_far() -> None:
    d = graph.distances_from_edges(np.array([[0.0, 1.0, 30.0], [1.0, 0.0, 20.0], [0.0, 1.0, 25.0], [2.0, 2.0, 5.0]]), 3)
    assert d[0, 1] == d[1, 0] == 20.0
    assert np.isinf(d[0, 2])
    assert np.isinf(d[2, 1])
    assert not d.diagonal().any()


def test_an_asymmetric_matrix_needs_permission() -> None:
    d = np.array([[0.0, 10.0], [12.0, 0.0]])
    with pytest.raises(UserError, match=r"here: .* sensor 0 to 1 is 10 but 12 .* symmetrise = true"):
        graph.symmetric_distances(d, False, "here")
    assert graph.symmetric_distances(d, True, "here")[1, 0] == 10.0
    inf = np.array([[0.0, np.inf], [np.inf, 0.0]])
    assert np.array_equal(graph.symmetric_distances(inf, False, "here"), inf)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10_000))
def test_laplacian_and_basis_follow_their_definitions(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    w = rng.uniform(size=(n, n)) * (rng.uniform(size=(n, n)) < 0.4)
    w = np.triu(w, 1) + np.triu(w, 1).T
    # The slow way, element by element, as the original code does it.
    degree = w.sum(axis=1)
    slow = np.diag(degree) - w
    for i in range(n):
        for j in range(n):
            if degree[i] > 0 and degree[j] > 0:
                slow[i, j] /= np.sqrt(degree[i] * degree[j])
    largest = np.linalg.eigvals(slow).real.max()
    scaled = graph.scaled_laplacian(w)
    if largest > 1e-9:
        np.testing.assert_allclose(scaled, 2 * slow / largest - np.eye(n), atol=1e-9)
    assert np.abs(np.linalg.eigvalsh(scaled)).max() <= 1 + 1e-9
    basis = graph.chebyshev_basis(scaled)
    values, vectors = np.linalg.eigh(scaled)
    for k in range(3):
        cheb = np.cos(k * np.arccos(np.clip(values, -1, 1)))
        np.testing.assert_allclose(basis[k], vectors @ np.diag(cheb) @ vectors.T, atol=1e-7)


def test_an_isolated_sensor_divides_by_nothing() -> None:
    w = np.zeros((3, 3))
    w[0, 1] = w[1, 0] = 0.7
    with np.errstate(all="raise"):
        alone = graph.scaled_laplacian(w)
        nobody = graph.scaled_laplacian(np.zeros((3, 3)))
    assert alone[2].tolist() == [0.0, 0.0, -1.0]
    assert np.array_equal(nobody, -np.eye(3))
