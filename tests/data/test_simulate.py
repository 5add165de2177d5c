from __future__ import annotations

import numpy as np
import pytest

from kdsearch.data import Dataset, graph, load
from kdsearch.data.simulate import Simulation, simulate


@pytest.fixture(scope="module")
def made() -> Simulation:
    return simulate(30, 14, seed=7)


def test_demo_is_as_promised(demo: Dataset) -> None:
    assert demo.name == demo.space == "demo"
    assert demo.speeds.shape == (14, 288, 30)
    assert demo.speeds.dtype == np.float32
    assert (demo.split.train, demo.split.validation, demo.split.test) == (10, 2, 2)
    assert demo.n_missing == 0
    assert demo.horizons == {3: 15, 6: 30, 9: 45}


def test_demo_is_the_same_every_time(demo: Dataset) -> None:
    again = load("demo")
    assert again.fingerprint == demo.fingerprint
    assert simulate(30, 2, seed=8).speeds.tolist() != simulate(30, 2, seed=9).speeds.tolist()


def test_demo_looks_like_the_real_week(demo: Dataset) -> None:
    """The real 228 sensors: mean 60.1, deviation 12.6, 10.0% below 40 mph, 1.8% below 20, copy-last 2.4/3.4/4.2."""
    v = demo.speeds.astype(float)
    assert 58 < v.mean() < 63
    assert 11 < v.std() < 14
    assert 0.07 < (v < 40).mean() < 0.13
    assert 0.008 < (v < 20).mean() < 0.03
    assert v.min() >= 3
    assert v.max() < 85
    copy_last = [np.abs(v[:, k:] - v[:, :-k]).mean() for k in (3, 6, 9)]
    assert copy_last == pytest.approx([2.4, 3.5, 4.5], abs=0.4)
    flat = v.reshape(-1, 30) - v.mean(axis=(0, 1))
    assert 0.96 < (flat[1:] * flat[:-1]).mean() / (flat**2).mean() < 0.99


def test_the_graph_of_demo_is_connected_and_sparse(demo: Dataset) -> None:
    reached = np.linalg.matrix_power((demo.weights > 0) + np.eye(30), 30) > 0
    assert reached.all()
    assert (demo.weights > 0).mean() < 0.5


def test_there_are_rush_hours_and_quiet_nights(made: Simulation) -> None:
    slow = (made.speeds < 40).mean(axis=(0, 2))
    assert slow[: 5 * 12].max() < 0.01
    assert slow[22 * 12 :].max() < 0.01
    assert slow[7 * 12 : 9 * 12].mean() > 0.2
    assert slow[16 * 12 : 19 * 12].mean() > 0.2
    assert slow[12 * 12 : 14 * 12].mean() < 0.1


def test_days_differ(made: Simulation) -> None:
    minutes = 5 * (made.speeds < 40).sum(axis=(1, 2))
    assert minutes.std() / minutes.mean() > 0.1
    # Fridays carry the most traffic.
    weekday = np.arange(14) % 5
    assert minutes[weekday == 4].mean() > minutes[weekday == 0].mean()


def test_queues_start_at_bottlenecks_and_move_upstream() -> None:
    """Between neighbouring congested sensors, the upstream one follows the one downstream."""
    made = simulate(90, 14, seed=3)
    slow = np.clip(60 - made.speeds.astype(float), 0, None)
    lags = np.arange(-6, 7)
    found = []
    for up in range(89):
        if made.road[up] != made.road[up + 1] or made.cell[up + 1] - made.cell[up] < 2:
            continue
        a, b = slow[:, :, up], slow[:, :, up + 1]
        if a.std() < 6 or b.std() < 6:
            continue
        # Onsets only: when queues dissolve, the head may move either way.
        a, b = np.maximum(np.diff(a, axis=1), 0), np.maximum(np.diff(b, axis=1), 0)
        by_lag = [(b[:, 10:-10] * a[:, 10 + k : a.shape[1] - 10 + k]).sum() for k in lags]
        found.append(lags[int(np.argmax(by_lag))])
    assert len(found) > 20
    assert np.mean(found) > 0.7
    assert np.mean(np.array(found) >= 0) > 0.85


def test_traffic_is_free_downstream_of_the_last_bottleneck(made: Simulation) -> None:
    slow = (made.speeds < 40).mean(axis=(0, 1))
    for road, cells in enumerate(made.bottlenecks):
        here = made.road == road
        below = here & (made.cell > max(cells) + 2)
        above = here & (made.cell < max(cells)) & (made.cell > max(cells) - 6)
        assert above.any()
        assert below.any()
        assert slow[above].min() > 3 * slow[below].max()


def test_sensors_are_noisy_each_in_its_own_way(made: Simulation) -> None:
    night = np.diff(made.speeds[:, : 4 * 12].astype(float), axis=1).std(axis=(0, 1))
    assert night.min() > 0.6
    assert night.max() < 2.5
    assert night.max() / night.min() > 1.4


def test_both_directions_of_a_freeway_lie_side_by_side(made: Simulation) -> None:
    d = made.distances
    assert np.array_equal(d, d.T)
    assert not d.diagonal().any()
    across = d[np.ix_(made.road == 0, made.road == 1)]
    assert across.min() < 450
    along = d[np.flatnonzero(made.road == 0)[:-1], np.flatnonzero(made.road == 0)[1:]]
    assert set(np.round(along)) <= {400.0, 800.0, 1200.0}


@pytest.mark.parametrize(("n", "days"), [(1, 1), (2, 3), (7, 1), (228, 1), (500, 1)])
def test_any_size(n: int, days: int) -> None:
    made = simulate(n, days, seed=1)
    assert made.speeds.shape == (days, 288, n)
    assert np.isfinite(made.speeds).all()
    weights = graph.gaussian_kernel(made.distances)
    reached, edge = {0}, {0}
    while edge:
        edge = {int(j) for i in edge for j in np.flatnonzero(weights[i])} - reached
        reached |= edge
    assert len(reached) == n, "the road network is in one piece"


def test_no_sensors_is_no_simulation() -> None:
    with pytest.raises(ValueError, match="at least one"):
        simulate(0, 1)
