"""What ``kdsearch.tune`` was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kdsearch.command import Confirm
from kdsearch.remote.uri import Uri

if TYPE_CHECKING:
    from kdsearch.pruning.settings import Criterion, FinetuneLoss, GranularityName, Unreachable

__all__ = ["JobSettings"]


# Bytes of a teacher bank where what it samples must not hang on the memory that is free now: the same command then
# finds again what it has trained.
BANK_MEMORY = 4_000_000_000


@dataclass(frozen=True)
class JobSettings:
    """The command's arguments; ``None`` where the search space's defaults decide.

    Attributes:
        dataset: known name, or path of a TOML declaration.
        loss: name in the registry.
        prune: percent of all parameters to take away; None for a student without pruning.
        criterion, granularity, finetune_loss, unreachable: see :class:`kdsearch.pruning.settings.PruneSettings`; only
            with ``prune``.
        start: network that is pruned, ``"teacher"`` or ``"base"``; None: as the percent says.
        objective: ``"score"``, or ``"pareto"``: a front of validation score and cost, the percent searched too.
        cost: of a front: ``"parameters"`` or ``"latency"``; None for parameters.
        recipe: how teacher and students are trained, see :mod:`kdsearch.training.recipe`.
        space: search space instead of the dataset's own.
        fixed: hyperparameters taken out of the search.
        data_dir: where the raw files lie.
        trials: wanted in total.
        epochs: of a full trial.
        time_budget: seconds for the search.
        trial_timeout: seconds without an epoch after which a trial has failed.
        scheduler, sampler: by name.
        seed: of everything random.
        confirm: K best configurations, S seeds each.
        concurrency, gpus_per_trial, cpus_per_trial, address: resources, see
            :class:`kdsearch.search.settings.SearchSettings`.
        bank_memory: bytes the teacher bank may take, or ``"auto"``.
        teachers: how many, that differ by their seeds; trials are told their mean.
        teacher_epochs, teacher_run_length: how they are trained.
        cache_dir: of trained networks.
        output: folder of the search.
        uri: where that folder is copied to, and carried on from; the folder is then one of the cache.
        resume: carry on with what is there.
        store: of best configurations.
        quiet: print warnings and the result only.
        warm_start: folder or URI of another search, see :mod:`kdsearch.search.warm`; its best points come first.
        warm_points: how many of them at most; None for five.
        warm_prior: whether the sampler learns from its trials too.
        verbose: print a line an epoch.
        command: the command line, for the record.
    """

    dataset: str = "demo"
    loss: str = "stcd"
    prune: float | None = None
    criterion: Criterion | None = None
    granularity: GranularityName | None = None
    finetune_loss: FinetuneLoss | None = None
    unreachable: Unreachable | None = None
    start: str | None = None
    objective: str = "score"
    cost: str | None = None
    recipe: str = "paper"
    space: Path | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    data_dir: Path | None = None
    trials: int | None = None
    epochs: int | None = None
    time_budget: float | None = None
    trial_timeout: float | None = None
    scheduler: str = "asha"
    sampler: str = "tpe"
    seed: int = 0
    confirm: Confirm | None = None
    concurrency: int | Literal["auto"] = "auto"
    gpus_per_trial: float | Literal["auto"] = "auto"
    cpus_per_trial: int = 1
    address: str | None = None
    bank_memory: int | Literal["auto"] = "auto"
    teachers: int = 1
    teacher_epochs: int | None = None
    teacher_run_length: int | None = None
    cache_dir: Path | None = None
    output: Path | None = None
    uri: Uri | None = None
    resume: bool = False
    store: Path | None = None
    quiet: bool = False
    warm_start: Path | Uri | None = None
    warm_points: int | None = None
    warm_prior: bool = False
    verbose: bool = False
    command: str = ""
