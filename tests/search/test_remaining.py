"""The time left of a search, beside what then happened in simulated searches under ASHA's rule."""

from __future__ import annotations

import heapq
import math
import random
from collections import defaultdict

import pytest

from kdsearch.search.remaining import Course, Remaining, course_of
from kdsearch.search.usage import Usage, gpu_text


def simulate(trials: int, at_once: int, course: Course, seed: int) -> tuple[float, float | None, float]:
    """A search whose trials have random final scores and speeds, under asynchronous halving.

    Returns:
        When it ended; what the estimate said was left when half of the trials had ended; and the time then.
    """
    draw = random.Random(seed)
    remaining, rungs = Remaining(course, at_once), defaultdict[int, list[float]](list)
    pace = {n: draw.choice([1.0, 2.0]) for n in range(trials)}
    score = {n: draw.random() for n in range(trials)}
    running, events, now, begun, ended = {}, [], 0.0, 0, 0
    half: tuple[float | None, float] | None = None
    while ended < trials:
        while begun < trials and len(running) < at_once:
            running[begun] = 0
            heapq.heappush(events, (now + pace[begun], begun))
            begun += 1
        now, n = heapq.heappop(events)
        running[n] += 1
        epoch = running[n]
        stop = False
        if epoch in course.rungs:
            rungs[epoch].append(score[n])
            place = sorted(rungs[epoch])
            stop = score[n] > place[max(0, math.ceil(len(place) / course.reduction) - 1)]
        if stop or epoch == course.epochs:
            del running[n]
            ended += 1
            remaining.ended(epoch, not stop, pace[n])
        else:
            heapq.heappush(events, (now + pace[n], n))
        if half is None and ended >= trials // 2:
            left = remaining.seconds(trials - begun, [(e, pace[m]) for m, e in running.items()])
            half = left, now
    assert half is not None
    return now, half[0], half[1]


def test_at_half_time_the_estimate_is_near_and_the_naive_one_is_not() -> None:
    course = Course(epochs=50, grace=5, reduction=3)
    ours, naive = [], []
    for seed in range(20):
        end, left, now = simulate(64, 4, course, seed)
        assert left is not None
        ours.append(left / (end - now))
        naive.append(32 * 50 * 1.5 / 4 / (end - now))
    assert 0.7 < sorted(ours)[10] < 1.4
    assert all(0.4 < share < 2.5 for share in ours)
    assert sorted(naive)[10] > 2  # trials times epochs


def test_before_anything_is_seen_the_rungs_decide() -> None:
    remaining = Remaining(Course(epochs=9, grace=1, reduction=3), 1)
    assert remaining.seconds(3, []) is None
    survival = remaining.survival()
    assert survival[0] == survival[2] == pytest.approx(1 / 3)
    assert survival[1] == survival[3] == 1.0
    assert remaining.epochs_left(survival) == pytest.approx(1 + 2 / 3 + 6 / 9)
    assert remaining.epochs_left(survival, 2) == pytest.approx(1 + 6 / 3)
    assert remaining.epochs_left(survival, 3) == 6
    assert remaining.epochs_left(survival, 9) == 0
    assert remaining.seconds(0, [(4, 2.0)]) == pytest.approx(2.0 * 5)


def test_what_was_seen_counts_for_more_and_more() -> None:
    remaining = Remaining(Course(epochs=9, grace=1, reduction=3), 2)
    for _ in range(30):
        remaining.ended(9, True, 1.0)
    assert remaining.survival()[0] > 0.9
    assert remaining.survival(running=[2] * 300)[0] > 0.99


def test_without_rungs_trials_run_to_their_end_unless_seen_otherwise() -> None:
    assert course_of("none", 9, 1, 3).rungs == course_of("median", 9, 1, 3).rungs == []
    assert course_of("asha", 9, 1, 3).rungs == [1, 3]
    remaining = Remaining(course_of("median", 9, 1, 3), 1)
    assert remaining.epochs_left(remaining.survival()) == 9
    remaining.ended(4, False, 1.0)
    remaining.ended(9, True, 1.0)
    assert remaining.epochs_left(remaining.survival()) == pytest.approx(4 + 5 / 2)


def test_the_longest_trial_sets_the_end() -> None:
    remaining = Remaining(Course(epochs=10), 8)
    assert remaining.seconds(0, [(0, 3.0), (9, 1.0)]) == pytest.approx(30.0)


def test_devices_in_words() -> None:
    assert gpu_text("85, 31744, 81920\n") == "GPU 85%, 31 of 80 GiB"
    assert gpu_text("80, 1024, 2048\n40, 1024, 2048\n") == "GPU 60% of 2 devices, 2 of 4 GiB"
    assert gpu_text("") == ""


def test_the_processors_are_seen_at_work() -> None:
    usage = Usage()
    assert usage.text() == ""
    usage.start()
    sum(i * i for i in range(2_000_000))
    usage.look()
    usage.stop()
    assert 0 < float(usage.text().split("%")[0].removeprefix("CPU ")) <= 100
