"""What ``--prune`` asks for, checked against the space before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from kdsearch.data import Dataset
from kdsearch.distillation import losses
from kdsearch.errors import UserError
from kdsearch.job.settings import JobSettings
from kdsearch.models.layout import Layout
from kdsearch.pruning.objective import PERCENT, epochs_of_pruning, planned, settings_of, start_network
from kdsearch.pruning.schedule import Schedule
from kdsearch.pruning.settings import PruneSettings
from kdsearch.search.space import Space
from kdsearch.training.settings import FitSettings

__all__ = ["grace", "shared", "start_of", "tell", "template", "with_top_percent"]

_CHOICES = ("criterion", "granularity", "finetune_loss", "unreachable")
# Values of a range at which the number of stages is looked at.
_POINTS = 9


def template(settings: JobSettings) -> PruneSettings | None:
    """What all trials share; None without ``--prune``.

    Raises:
        UserError: an option of pruning without ``--prune``, or a loss that cannot be pruned with.
    """
    given = {name: getattr(settings, name) for name in _CHOICES if getattr(settings, name) is not None}
    pareto = settings.objective == "pareto"
    if settings.cost is not None and not pareto:
        raise UserError(f"--cost {settings.cost} is of a front: give --objective pareto too")
    if settings.cost == "latency" and settings.granularity == "weight":
        raise UserError(
            "--cost latency with --granularity weight: a network whose single weights are taken away takes as long as "
            "before; weigh --cost parameters, or prune filters"
        )
    if settings.prune is None and not pareto:
        for name, value in {**given, **({} if settings.start is None else {"start": settings.start})}.items():
            option = f"--{name.replace('_', '-')}"
            raise UserError(
                f"{option} {value} is of pruning: give --prune PERCENT too, such as --prune 97, or --objective pareto"
            )
        return None
    if settings.prune is not None and pareto:
        raise UserError(
            f"--prune {settings.prune:g}: with --objective pareto the percent is searched: leave --prune out, or fix "
            f"it by --set {PERCENT}={settings.prune:g}"
        )
    if losses.get(settings.loss).OWN_WEIGHTS:
        raise UserError(
            f"--prune: the loss {settings.loss} trains weights of its own that are shaped by the network's channels, "
            "which pruning removes: prune with another loss"
        )
    if settings.prune is None:  # a front: every trial has its own percent, and where that ends is what counts
        return PruneSettings(50.0, **{"unreachable": "nearest", **given})
    return PruneSettings(settings.prune, **given)


def start_of(settings: JobSettings) -> str:
    """What a trial begins with: ``"student"``, fresh, or the trained ``"teacher"`` or ``"base"`` to be pruned."""
    if settings.objective == "pareto":
        return settings.start or "teacher"
    return "student" if settings.prune is None else settings.start or start_network(settings.prune)


def with_top_percent(pruning: PruneSettings, space: Space) -> PruneSettings:
    """The template of a front's trials, with the highest percent of the space."""
    return replace(pruning, percent=max(_ends(space, PERCENT)))


def shared(pruning: PruneSettings) -> dict[str, Any]:
    """What of a pruning is the same for all trials, as plain values."""
    return {"percent": pruning.percent, **{name: getattr(pruning, name) for name in _CHOICES}}


def grace(dataset: Dataset, space: Space, pruning: PruneSettings, start: Layout, student: FitSettings) -> int:
    """Epochs after which every configuration of the space has finished pruning: none may be stopped before.

    Raises:
        UserError: the slowest has not finished before the last epoch, or the percent is out of reach.
    """
    fit = replace(student, batch_size=int(max(_ends(space, "batch_size"))))
    interval = max(_ends(space, "pruning_minibatch"))
    slowest = 1
    for share in _between(space, "stage_percent"):
        settings = settings_of(pruning, {"pruning_minibatch": interval, "stage_percent": share})
        slowest = max(slowest, epochs_of_pruning(dataset, planned(dataset, settings, start), settings, fit))
    if slowest >= fit.epochs:
        raise UserError(
            f"--epochs {fit.epochs}: the slowest pruning of the space (pruning_minibatch={interval:g}, "
            f"batch_size={fit.batch_size}) takes {slowest} epochs and none is left to choose from: give more than "
            f"{slowest}, or fix --set pruning_minibatch or --set stage_percent to prune faster"
        )
    return slowest


def tell(
    schedule: Schedule, percent: float, start: str, grace: int, say: Callable[[str], None], front: bool
) -> list[str]:
    """Say what will be pruned; returns the warning that the percent is missed, if it is."""
    say(
        f"pruning {'up to ' if front else ''}{percent:g}%: {schedule.full:,} parameters of the {start} to "
        f"{schedule.sizes[-1]:,} ({100 * schedule.sizes[-1] / schedule.full:.2f}%); "
        f"no trial is stopped before epoch {grace}"
    )
    if not schedule.warning or front:
        return []
    say(f"warning: {schedule.warning}")
    return [schedule.warning]


def _ends(space: Space, name: str) -> list[float]:
    """The extremes of a hyperparameter in a space, or what it is fixed to."""
    if name in space.fixed:
        return [float(space.fixed[name])]
    parameter = next(p for p in space.parameters if p.name == name)
    if parameter.choices:
        return [float(choice) for choice in parameter.choices]
    assert parameter.low is not None
    assert parameter.high is not None
    return [parameter.low, parameter.high]


def _between(space: Space, name: str) -> Iterator[float]:
    """Values of a hyperparameter from end to end: fewer a stage means more stages, but rounding has its say."""
    ends = _ends(space, name)
    low, high = min(ends), max(ends)
    yield from sorted({*ends, *(low + (high - low) * k / (_POINTS - 1) for k in range(_POINTS))})
