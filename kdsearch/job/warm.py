"""What a search takes of another one: checked early, read once, and afterwards part of the search."""

from __future__ import annotations

from pathlib import Path

from kdsearch.errors import UserError
from kdsearch.job.settings import JobSettings
from kdsearch.search.space import Space
from kdsearch.search.warm import WarmStart

__all__ = ["check", "choose"]

_POINTS = 5


def check(settings: JobSettings) -> None:
    """Refuse options that do not go together.

    Raises:
        UserError: one sentence.
    """
    if settings.warm_points is not None and settings.warm_start is None:
        raise UserError("--warm-points: say with --warm-start DIR of which search")
    if not settings.warm_prior:
        return
    if settings.warm_start is None:
        raise UserError("--warm-prior: say with --warm-start DIR of which search")
    if settings.objective == "pareto":
        raise UserError("--warm-prior knows one objective only: leave it out, --warm-start alone works with a front")
    if settings.sampler != "tpe":
        raise UserError(f"--warm-prior needs --sampler tpe, not {settings.sampler}")


def choose(settings: JobSettings, space: Space, output: Path) -> tuple[WarmStart | None, tuple[str, ...]]:
    """The warm start of a search, and a line on each value that had to change to fit its space.

    A search that is resumed keeps what it began with, whatever has become of the other one.

    Raises:
        UserError: the other folder has nothing to give, is the search's own, or the search began without it.
    """
    if settings.resume:
        from kdsearch.search.study import setup_of

        began = setup_of(output)
        if began:
            told = began.get("warm_start")
            if told is None and settings.warm_start is not None:
                raise UserError(f"{output} began without --warm-start: resume without it, or give another --output")
            return (None if told is None else WarmStart.read(told)), ()
    if settings.warm_start is None:
        return None, ()
    if isinstance(settings.warm_start, Path) and settings.warm_start.resolve() == output.resolve():
        raise UserError("--warm-start names the search's own --output: carry on with --resume instead")
    from kdsearch.remote.hand import at_hand
    from kdsearch.search.warm import read_warm_start

    with at_hand(settings.warm_start, "--warm-start") as folder:
        warm, notes = read_warm_start(folder, space, settings.warm_points or _POINTS, settings.warm_prior)
    return warm, tuple(notes)
