"""What a search is told and what it gives back, and the folder it writes to."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kdsearch.contents import LOCK
from kdsearch.errors import UserError
from kdsearch.search.choices import check_sampler, check_scheduler
from kdsearch.search.interrupt import Reason
from kdsearch.search.space import Space
from kdsearch.search.warm import WarmStart

if TYPE_CHECKING:
    from kdsearch.search.record import Ranked

__all__ = ["SearchResult", "SearchSettings", "check_settings", "disk_errors", "output_lock"]


@dataclass(frozen=True)
class SearchSettings:
    """How far a search goes, and on what.

    Attributes:
        output: folder of everything it leaves behind.
        trials: wanted in total; a resumed search runs what is missing.
        epochs: of a full trial.
        concurrency: most trials at once, or ``"auto"``.
        gpus_per_trial: share of a device, or ``"auto"``.
        cpus_per_trial: threads of a trial.
        peak_bytes: device memory a trial was measured to need.
        time_budget_s: seconds after which the search ends; what is running can be resumed.
        trial_timeout_s: a trial that finishes no epoch for so many seconds hangs and has failed; None for ever.
        scheduler: ``asha``, ``hyperband``, ``median`` or ``none``.
        sampler: ``tpe``, ``random``, ``gp``, ``cmaes`` or ``qmc``.
        seed: of the sampler and of every trial: trials differ by their hyperparameters, not by luck.
        grace: epochs before which no trial is stopped.
        reduction: one trial in so many goes on at each rung.
        objectives: 1, the validation score, or 2, the score and a cost (:attr:`TrialRun.cost`).
        resume: carry on with the study in ``output``.
        address: of a Ray cluster; None starts Ray here.
        identity: whatever else makes two searches the same (dataset, fingerprints); compared on resume.
        warm: what was taken of another search.
        checkpoint_every_s: least time between two states of a trial.
    """

    output: Path
    trials: int
    epochs: int
    concurrency: int | Literal["auto"] = "auto"
    gpus_per_trial: float | Literal["auto"] = "auto"
    cpus_per_trial: float = 1
    peak_bytes: int | None = None
    time_budget_s: float | None = None
    trial_timeout_s: float | None = None
    scheduler: str = "asha"
    sampler: str = "tpe"
    seed: int = 0
    grace: int = 5
    reduction: int = 3
    objectives: int = 1
    resume: bool = False
    address: str | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)
    warm: WarmStart | None = None
    checkpoint_every_s: float = 2.0

    def setup(self, space: Space) -> dict[str, Any]:
        """What must agree for a search to be resumed."""
        return {
            **self.identity,
            "loss": space.loss,
            "prune": space.prune,
            "fixed": dict(space.fixed),
            "space": space.digest(),
            "epochs": self.epochs,
            "scheduler": self.scheduler,
            "sampler": self.sampler,
            "seed": self.seed,
            "grace": min(self.grace, self.epochs),
            "reduction": self.reduction,
            **({"objectives": self.objectives} if self.objectives > 1 else {}),
            # Whole, so that a search can be resumed when the other one is gone or has gone on.
            **({"warm_start": self.warm.plain()} if self.warm is not None else {}),
        }


@dataclass(frozen=True)
class SearchResult:
    """What became of a search.

    Attributes:
        output: its folder.
        wanted: trials asked for.
        completed, stopped, failed: trials by how they ended.
        unfinished: trials cut off by the end of the search; a resumed one carries them on.
        reason: why it ended before its last trial; None where it did not.
        seconds: of this run.
        trial_seconds: of all trials, also of earlier runs.
        ranked: configurations, best first.
    """

    output: Path
    wanted: int
    completed: int
    stopped: int
    failed: int
    unfinished: int
    reason: Reason | None
    seconds: float
    trial_seconds: float
    ranked: list[Ranked]

    @property
    def finished(self) -> int:
        """Trials that have ended, however they did."""
        return self.completed + self.stopped + self.failed


def check_settings(settings: SearchSettings) -> None:
    """Refuse what cannot be run, before Ray starts.

    Raises:
        UserError: one sentence.
    """
    for name, least in (("trials", 1), ("epochs", 1), ("grace", 1), ("reduction", 2)):
        if getattr(settings, name) < least:
            raise UserError(f"{name}: wants at least {least}, not {getattr(settings, name)}")
    check_scheduler(settings.scheduler, settings.objectives)
    check_sampler(settings.sampler, settings.objectives)
    if settings.time_budget_s is not None and settings.time_budget_s <= 0:
        raise UserError(f"--time-budget: wants more than 0 seconds, not {settings.time_budget_s:g}")
    if settings.trial_timeout_s is not None and settings.trial_timeout_s <= 0:
        raise UserError(f"--trial-timeout: wants more than 0 seconds, not {settings.trial_timeout_s:g}")


@contextlib.contextmanager
def output_lock(output: Path) -> Iterator[None]:
    """Hold an output folder for the time of a ``with``, made if it is not there; released also by SIGKILL.

    Who holds it may take it again.

    Raises:
        UserError: another search holds it, or it cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = FileLock(output.resolve() / LOCK, timeout=0, is_singleton=True)
        lock.acquire()
    except Timeout:
        raise UserError(f"another search is running in {output}: wait for it, or give another --output") from None
    except OSError as error:
        raise UserError(f"--output {output} cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def disk_errors(output: Path) -> Iterator[None]:
    """A full or failing disk is the user's to mend; the journal stays valid, and the search can be resumed."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
        if isinstance(error, UserError) or not (full or "No space left on device" in str(error)):
            raise
        reason = cause.strerror if isinstance(cause, OSError) else "no space left on device"
        raise UserError(f"{output} cannot be written ({reason}): make room, then carry on with --resume") from error
