"""Jobs that run beside each other in Ray's workers."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Collection, Generator, Sequence
from typing import Any, TypeVar

from kdsearch.errors import UserError
from kdsearch.search.interrupt import StopRequest
from kdsearch.search.resources import Machine, Plan
from kdsearch.search.session import cluster_errors, current_machine, ray_session

__all__ = ["RETRIES", "Tell", "beside_each_other", "in_workers"]

J = TypeVar("J")
Tell = Callable[[Any], None]

# Of a job whose worker was killed.
RETRIES = 2

_POLL_S = 0.2
_PROGRESS = "kdsearch/workers/"


def in_workers(
    take: Callable[[], J | None],
    submit: Callable[[J], Any],
    concurrency: int,
    stop: StopRequest,
    poll: Callable[[Collection[J]], None] | None = None,
) -> Generator[tuple[J, Any], None, None]:
    """Run jobs, so many at once, and give each with Ray's reference to its result as it ends.

    Close it (:func:`contextlib.closing`): what still runs then is ended.

    Args:
        take: the next job, None while there is none that can begin.
        submit: begins it; returns Ray's reference.
        concurrency: jobs at once.
        stop: looked at several times a second.
        poll: told as often which jobs run.

    Raises:
        KeyboardInterrupt: it was asked to stop.
    """
    import ray

    running: dict[Any, J] = {}
    try:
        while True:
            while len(running) < concurrency and (job := take()) is not None:
                running[submit(job)] = job
            if not running:
                return
            ended, _ = ray.wait(list(running), timeout=_POLL_S)
            if stop.reason is not None:
                raise KeyboardInterrupt
            if poll is not None:
                poll(running.values())
            for reference in ended:
                yield running.pop(reference), reference
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def beside_each_other(
    work: Callable[[Any, J, str, Tell], Any],
    shared: Any,
    jobs: Sequence[J],
    plan_for: Callable[[Machine], Plan],
    address: str | None,
    told: Callable[[J, Any], None],
    label: Callable[[J], str],
) -> Generator[tuple[J, Any], None, None]:
    """Do jobs in workers, and give each with its result as it ends. Close it, as :func:`in_workers`.

    Args:
        work: called in a worker with what is shared, the job, its device (``"cpu"`` or ``"cuda"``) and a function that
            tells how far it has come, in plain values.
        shared: put into the object store once.
        jobs: all of them.
        plan_for: what each gets on the machine or cluster that there is.
        address: of a cluster to join.
        told: takes a job and what its work has told last, several times a second.
        label: of a job, for an error.

    Raises:
        UserError: the cluster was lost, a worker was killed too often, or what the work raised.
        KeyboardInterrupt: Ctrl-C or SIGTERM.
    """
    import ray

    prefix = f"{_PROGRESS}{uuid.uuid4().hex}/"

    def poll(running: Collection[tuple[int, J]]) -> None:
        for number, job in running:
            message = _last_told(f"{prefix}{number}")
            if message is not None:
                told(job, message)

    with cluster_errors(address), StopRequest() as stop, ray_session(address) as ready:
        ready()
        stop.install()
        given = plan_for(current_machine())
        remote = ray.remote(num_cpus=given.cpus, num_gpus=given.gpus, max_retries=RETRIES)(_in_worker)
        reference, waiting = ray.put(shared), iter(enumerate(jobs))

        def submit(numbered: tuple[int, J]) -> Any:
            number, job = numbered
            return remote.remote([reference], work, job, given, f"{prefix}{number}")

        running = in_workers(lambda: next(waiting, None), submit, given.concurrency, stop, poll)
        with contextlib.closing(running) as ended:
            for (_, job), result in ended:
                yield job, _get(result, label(job))


def _get(reference: Any, label: str) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, UserError):
            raise cause from None
        raise
    except ray.exceptions.WorkerCrashedError as error:
        raise UserError(
            f"{label}: its process was killed {RETRIES + 1} times ({str(error).splitlines()[0][:200]}), often for "
            "want of memory: what was trained is kept, run the same command with --concurrency 1"
        ) from None


def _in_worker(shared: list[Any], work: Callable[..., Any], job: Any, given: Plan, key: str) -> Any:
    import ray
    from ray.experimental.internal_kv import _internal_kv_put

    from kdsearch.search.trainable import prepare_device, release_memory

    device = prepare_device(given.cpus, given.gpus, given.memory_fraction)
    release_memory()
    return work(ray.get(shared[0]), job, device, lambda message: _internal_kv_put(key, json.dumps(message).encode()))


def _last_told(key: str) -> Any:
    """What a worker has told since it was last asked; None if nothing."""
    from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get

    message = _internal_kv_get(key)
    if not message:
        return None
    _internal_kv_del(key)
    return json.loads(message)
