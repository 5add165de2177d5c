"""``demo``: a seeded freeway, simulated with the cell transmission model (Daganzo 1994), measured by noisy detectors.

Each road is one direction of a freeway: a chain of cells with on- and off-ramps, a triangular fundamental diagram and
a few bottlenecks whose peak demand exceeds their capacity. Congested cells discharge less than their capacity (the
capacity drop), so queues form, grow upstream against the traffic and dissolve late. Demand follows a weekday profile
that differs by day; incidents close lanes for 20 to 60 minutes. Days start empty and independent, so all days and
roads advance together as rows of one array.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdsearch.data import graph
from kdsearch.data.dataset import Dataset, Split

__all__ = ["CELL_METRES", "Simulation", "demo", "simulate"]

Array = NDArray[np.float64]

STEPS_PER_DAY = 288
CELL_METRES = 400.0
_TICK_SECONDS = 12.0
_TICKS = 25  # ticks in the 5 minutes of one reading
_MPH = 2.2369362920544025  # mph in one metre a second
_FREE_MPH = 67.0
_WAVE_MPH = 15.0  # the speed at which a jam travels upstream
_DROP = 0.10  # capacity lost when a queue discharges
_SENSORS_PER_ROAD = 15
_WARM_UP = 12  # readings before midnight, so that the day starts with traffic on the road


@dataclass(frozen=True, eq=False)
class Simulation:
    """What a simulation gives.

    Attributes:
        speeds: float32 ``[days, 288, N]`` mph, one decimal, as detectors report.
        distances: float64 ``[N, N]`` straight-line metres.
        road: int ``[N]``, the road of each sensor; roads ``2k`` and ``2k + 1`` are the two directions of a freeway.
        cell: int ``[N]``, its cell on that road, counted in the direction of travel.
        bottlenecks: for each road the cells where queues recur.
    """

    speeds: NDArray[np.float32]
    distances: Array
    road: NDArray[np.int64]
    cell: NDArray[np.int64]
    bottlenecks: tuple[tuple[int, ...], ...]


def demo() -> Dataset:
    """The built-in dataset: 30 sensors on both directions of a freeway, 14 weekdays, split 10 / 2 / 2."""
    made = simulate(30, 14, seed=7)
    return Dataset(
        name="demo",
        speeds=made.speeds,
        weights=graph.gaussian_kernel(made.distances),
        split=Split(10, 2, 2),
        space="demo",
        distances=made.distances,
    )


def simulate(n_sensors: int, days: int, seed: int = 0) -> Simulation:
    """Simulate ``n_sensors`` detectors over ``days`` weekdays; the same seed gives the same readings."""
    if n_sensors < 1 or days < 1:
        raise ValueError("at least one sensor and one day")
    rng = np.random.default_rng(seed)
    roads = _build_roads(n_sensors, rng)
    true_speed, load = _run(roads, days, rng)
    return Simulation(
        speeds=_measure(true_speed, load, rng),
        distances=_distances(roads),
        road=roads.sensor_road,
        cell=roads.sensor_cell,
        bottlenecks=roads.bottlenecks,
    )


@dataclass(frozen=True, eq=False)
class _Roads:
    """Static description, arrays ``[roads, cells]`` unless said; flows are vehicles a tick at full demand (1)."""

    capacity: Array
    leave: Array  # share of a cell's outflow that takes its off-ramp
    enter: Array  # on-ramp demand
    upstream: Array  # [roads] demand at the first cell
    peaks: Array  # [roads, 2] height of the morning and of the evening peak
    sensor_road: NDArray[np.int64]
    sensor_cell: NDArray[np.int64]
    bottlenecks: tuple[tuple[int, ...], ...]


def _build_roads(n_sensors: int, rng: np.random.Generator) -> _Roads:
    n_roads = 2 * max(1, round(n_sensors / (2 * _SENSORS_PER_ROAD)))
    share = np.array([n_sensors // n_roads + (r < n_sensors % n_roads) for r in range(n_roads)])
    gaps = rng.choice([1, 2, 3], size=(n_roads, int(share.max())), p=[0.3, 0.5, 0.2])
    place = 3 + np.cumsum(gaps, axis=1)
    cells = int(place.max()) + 4
    shape = (n_roads, cells)

    enter, leave = np.zeros(shape), np.zeros(shape)
    for r in range(n_roads):
        on = np.arange(4, cells - 2, 5) + rng.integers(0, 2, size=len(np.arange(4, cells - 2, 5)))
        enter[r, on] = rng.uniform(0.06, 0.12, size=on.size)
        leave[r, on - 2] = rng.uniform(0.05, 0.11, size=on.size)
    upstream = rng.uniform(0.75, 0.9, size=n_roads)

    flow = np.empty(shape)
    flow[:, 0] = upstream
    for c in range(1, cells):
        flow[:, c] = flow[:, c - 1] * (1 - leave[:, c - 1]) + enter[:, c]
    ratio = rng.uniform(0.83, 0.96, size=shape)
    bottlenecks = []
    for r in range(n_roads):
        # One in the last third, whose queue has the whole road to grow on, and often a weaker one before it.
        chosen = [int(rng.integers(int(cells * 0.62), int(cells * 0.82)))]
        ratio[r, chosen[0]] = rng.uniform(1.10, 1.17)
        if rng.random() < 0.7:
            chosen.append(int(rng.integers(int(cells * 0.25), int(cells * 0.45))))
            ratio[r, chosen[1]] = rng.uniform(1.04, 1.10)
        bottlenecks.append(tuple(chosen))

    # The two directions of a freeway swap their heavy peak.
    heavy = (np.arange(n_roads) + rng.integers(0, 2)) % 2
    peaks = np.where(np.arange(2)[None, :] == heavy[:, None], 1.0, rng.uniform(0.9, 0.97, size=(n_roads, 1)))
    road = np.repeat(np.arange(n_roads), share)
    cell = np.concatenate([place[r, : share[r]] for r in range(n_roads)])
    scale = 2000.0 * 4 * _TICK_SECONDS / 3600.0  # about four lanes of 2,000 vehicles an hour
    return _Roads(flow / ratio * scale, leave, enter * scale, upstream * scale, peaks, road, cell, tuple(bottlenecks))


def _profile(peaks: Array, days: int, rng: np.random.Generator) -> Array:
    """Demand through the day, 1 at the height of a full peak: ``[288, days, roads]``."""
    hour = np.arange(STEPS_PER_DAY)[:, None, None] / 12.0
    weekday = np.arange(days) % 5
    level = np.array([0.985, 1.0, 1.005, 1.01, 1.02])[weekday][:, None] * rng.normal(1.0, 0.02, size=(days, 1))
    level = level * rng.normal(1.0, 0.015, size=(days, len(peaks)))
    shift = rng.normal(0.0, 0.15, size=(2, days, 1))
    early = np.where(weekday == 4, 0.5, 0.0)[:, None]  # on Fridays the evening starts early

    def hump(start: Array, end: Array, rise: float, fall: float) -> Array:
        rising: Array = 1 / (1 + np.exp(-(hour - start) / rise))
        falling: Array = 1 / (1 + np.exp((hour - end) / fall))
        return rising * falling

    day = 0.10 + 0.55 * hump(np.array(5.6), np.array(20.5), 0.35, 0.9)
    morning = hump(6.6 + shift[0], 8.9 + shift[0], 0.25, 0.45)
    evening = hump(15.0 + shift[1] - early, 18.4 + shift[1], 0.45, 0.4)
    return level * (day + (peaks[:, 0] - 0.65) * morning + (peaks[:, 1] - 0.65) * evening)


def _incidents(days: int, roads: _Roads, rng: np.random.Generator) -> list[tuple[int, int, int, int, float]]:
    """Lane closures, one a road in three days: (row, cell, first reading, end, share of capacity left)."""
    n_roads, cells = roads.capacity.shape
    found = []
    for row in range(days * n_roads):
        for _ in range(int(rng.poisson(0.35))):
            start = int(rng.integers(6 * 12, 20 * 12))
            length = int(rng.integers(4, 13))
            found.append((row, int(rng.integers(5, cells - 2)), start, start + length, float(rng.uniform(0.35, 0.65))))
    return found


def _run(roads: _Roads, days: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Speed in mph and flow over capacity at every sensor, each ``[days, 288, N]``.

    A row of the state arrays is one road on one day: ``row = day * roads + road``.
    """
    n_roads, cells = roads.capacity.shape
    rows = days * n_roads
    free = _FREE_MPH / _MPH * _TICK_SECONDS / CELL_METRES
    wave = _WAVE_MPH / _MPH * _TICK_SECONDS / CELL_METRES
    capacity = np.tile(roads.capacity, (days, 1))
    stay = np.tile(1 - roads.leave, (days, 1))
    enter = np.tile(roads.enter, (days, 1))
    enter[:, 0] = 0.0
    upstream = np.tile(roads.upstream, days)
    critical = capacity / free
    jam = critical + capacity / wave
    profile = _profile(roads.peaks, days, rng).reshape(STEPS_PER_DAY, rows)
    incidents = _incidents(days, roads, rng)

    n = enter * 0.0 + 0.1 * critical  # vehicles in each cell
    ramp_queue, source_queue = np.zeros((rows, cells)), np.zeros(rows)
    demand_noise, capacity_noise = np.zeros((rows, cells)), np.zeros((rows, cells))
    source_noise = np.zeros(rows)
    send, take, main, ramp, work = (np.empty((rows, cells)) for _ in range(5))
    sum_n, sum_out = np.empty((rows, cells)), np.empty((rows, cells))
    at = (slice(None), roads.sensor_road, roads.sensor_cell)
    speed, load = (np.empty((days, STEPS_PER_DAY, roads.sensor_road.size)) for _ in range(2))

    for reading in range(-_WARM_UP, STEPS_PER_DAY):
        level = profile[max(reading, 0)]
        demand_noise = 0.8 * demand_noise + 0.6 * 0.10 * rng.standard_normal((rows, cells))
        source_noise = 0.8 * source_noise + 0.6 * 0.04 * rng.standard_normal(rows)
        capacity_noise = 0.85 * capacity_noise + 0.527 * 0.07 * rng.standard_normal((rows, cells))
        now = capacity * np.clip(1 + capacity_noise, 0.7, 1.3)
        for row, cell, start, end, left in incidents:
            if start <= reading < end:
                now[row, cell] *= left
        arriving = enter * level[:, None] * np.clip(1 + demand_noise, 0.5, 1.5)
        coming = upstream * level * np.clip(1 + source_noise, 0.7, 1.3)
        sum_n[:], sum_out[:] = 0.0, 0.0
        for _ in range(_TICKS):
            # What each cell can send: a queue discharges less than the capacity.
            np.divide(n, critical, out=work)
            work -= 1.0
            np.clip(work, 0.0, 1.0, out=work)
            work *= -_DROP
            work += 1.0
            work *= now
            np.multiply(n, free, out=send)
            np.minimum(send, work, out=send)
            # What each cell can take.
            np.subtract(jam, n, out=take)
            take *= wave
            np.minimum(take, now, out=take)
            # What wants to enter it along the road, and from its ramp, which yields but gets a quarter of the room.
            source_queue += coming
            main[:, 0] = source_queue
            np.multiply(send[:, :-1], stay[:, :-1], out=main[:, 1:])
            ramp_queue += arriving
            np.subtract(take, main, out=ramp)
            np.multiply(take, 0.25, out=work)
            np.maximum(ramp, work, out=ramp)
            np.minimum(ramp, ramp_queue, out=ramp)
            ramp_queue -= ramp
            take -= ramp
            np.minimum(main, take, out=main)
            source_queue -= main[:, 0]
            np.divide(main[:, 1:], stay[:, :-1], out=send[:, :-1])
            sum_n += n
            sum_out += send
            n += main
            n += ramp
            n -= send
        if reading >= 0:
            shape = (days, n_roads, cells)
            speed[:, reading] = _smear(sum_out / sum_n).reshape(shape)[at]
            load[:, reading] = (sum_out / (capacity * _TICKS)).reshape(shape)[at]
    return speed * (CELL_METRES / _TICK_SECONDS * _MPH), load


def _smear(speed: Array) -> Array:
    """Lanes break down one after another, so the edge of a queue is not as sharp as the model has it."""
    for _ in range(3):
        padded = np.pad(speed, ((0, 0), (1, 1)), mode="edge")
        speed = 0.25 * padded[:, :-2] + 0.5 * padded[:, 1:-1] + 0.25 * padded[:, 2:]
    return speed


def _measure(speed: Array, load: Array, rng: np.random.Generator) -> NDArray[np.float32]:
    """Detector readings: each sensor has its own bias and noise; drivers slow a little before capacity is reached."""
    days, steps, n = speed.shape
    bias = rng.normal(1.0, 0.04, size=n)
    seen = speed * bias * (1 - 0.10 * np.minimum(load, 1.0) ** 2)
    sigma = rng.uniform(0.8, 1.7, size=n)
    # Stop-and-go traffic scatters more than free flow.
    spread = sigma * (1 + 1.0 * np.clip((60 - seen) / 40, 0, 1))
    slow = np.zeros((days, n))
    for t in range(steps):
        slow = 0.9 * slow + 0.436 * rng.standard_normal((days, n))
        seen[:, t] += spread[:, t] * (0.8 * slow + 0.8 * rng.standard_normal((days, n)))
    return np.round(np.clip(seen, 3.0, 85.0), 1).astype(np.float32)


def _distances(roads: _Roads) -> Array:
    """Straight-line metres between sensors. Freeways form a staircase, each starting on the one before it."""
    length = roads.capacity.shape[1] * CELL_METRES
    freeway, back = roads.sensor_road // 2, roads.sensor_road % 2
    along = (roads.sensor_cell + 0.5) * CELL_METRES
    along = np.where(back == 1, length - along, along)
    # Even freeways run east, odd ones north; both directions are 30 m apart.
    corner = 0.6 * length
    start_x = corner * ((freeway + 1) // 2)
    start_y = corner * (freeway // 2)
    east = freeway % 2 == 0
    x = start_x + np.where(east, along, 30.0 * back)
    y = start_y + np.where(east, 30.0 * back, along)
    return np.asarray(np.hypot(x[:, None] - x[None, :], y[:, None] - y[None, :]))
