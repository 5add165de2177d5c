from __future__ import annotations

import pytest

from kdsearch.errors import UserError
from kdsearch.search.resources import Machine, Node, local_machine, make_plan

GIB = 2**30
TWO_CORES = Machine((Node(2),))
ONE_GPU = Machine((Node(16, 1),), gpu_bytes=80 * GIB)
CLUSTER = Machine((Node(8, 2), Node(4), Node(16, 1)), gpu_bytes=40 * GIB)


def test_auto_fills_the_machine() -> None:
    assert make_plan(TWO_CORES, 100).concurrency == 2
    assert make_plan(TWO_CORES, 100, cpus_per_trial=2).concurrency == 1
    assert make_plan(TWO_CORES, 1).concurrency == 1  # no more than there are trials
    assert make_plan(TWO_CORES, 100, concurrency=1).concurrency == 1
    assert make_plan(CLUSTER, 100, gpus_per_trial=0).concurrency == 28
    assert make_plan(CLUSTER, 100, gpus_per_trial=1).concurrency == 3
    assert local_machine().cpus >= 1


def test_cpus_limit_shares_of_a_gpu() -> None:
    small = Machine((Node(2, 1),), gpu_bytes=80 * GIB)
    assert make_plan(small, 100, gpus_per_trial=0.25).concurrency == 2
    assert make_plan(small, 100).gpus == 0.5  # a smaller share than the CPUs can use would be wasted


def test_the_share_follows_the_measured_peak() -> None:
    tiny, big = (make_plan(ONE_GPU, 100, peak_bytes=p) for p in (GIB // 2, 20 * GIB))
    assert tiny.concurrency == 16
    assert big.concurrency == 2
    assert big.gpus == 0.5
    whole = make_plan(ONE_GPU, 100, peak_bytes=70 * GIB)
    assert (whole.gpus, whole.concurrency, whole.memory_fraction) == (1.0, 1, None)


@pytest.mark.parametrize("share", [0.5, 0.25, 0.1])
def test_no_trial_can_take_its_neighbours_memory(share: float) -> None:
    plan = make_plan(ONE_GPU, 100, gpus_per_trial=share)
    assert plan.memory_fraction is not None
    assert 0 < plan.memory_fraction * (1 / share) <= 1


def test_thirds_fit_three_times() -> None:
    plan = make_plan(Machine((Node(3, 1),), gpu_bytes=80 * GIB), 100)
    assert plan.concurrency == 3


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"cpus_per_trial": 3}, "--cpus-per-trial 3: no machine here has more than 2 CPUs"),
        ({"cpus_per_trial": 0}, "--cpus-per-trial: wants more than 0"),
        ({"gpus_per_trial": 1}, "--gpus-per-trial 1: no machine here has one that Ray and torch can use"),
        ({"gpus_per_trial": 1.5}, "wants a share between 0 and 1 or a whole number"),
        ({"gpus_per_trial": -1}, "wants a share"),
        ({"concurrency": 3}, "--concurrency 3: only 2 trials of 1 CPU each fit at once here"),
        ({"concurrency": 0}, "--concurrency: wants at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(asked: dict[str, float], message: str) -> None:
    with pytest.raises(UserError) as error:
        make_plan(TWO_CORES, 100, **asked)  # type: ignore[arg-type]
    assert message in str(error.value)
