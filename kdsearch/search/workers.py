"""Jobs that run beside each other in Ray's workers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from typing import Any, TypeVar

from kdsearch.search.interrupt import StopRequest

__all__ = ["in_workers"]

J = TypeVar("J")

_POLL_S = 0.2


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
