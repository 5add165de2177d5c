"""Results of trainings on disk: what a table prints, and the weights that a figure draws from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from kdsearch.errors import UserError
from kdsearch.training.checkpoint import DamagedFile, load_tensors, save_tensors

__all__ = ["Record", "keep", "locked", "read", "weights_of"]

_FORMAT = 2


@dataclass(frozen=True)
class Record:
    """What one training gave.

    Attributes:
        seed: of everything random in it.
        validation: figures of the best epoch.
        test: figures on the test days, by the same names.
        n_parameters: of the network; None for a classical forecaster.
        kept_share: parameters left by pruning, of those before; None without.
        epoch: the best one.
        epochs: that were trained; 0 where the network is kept elsewhere, as teachers are, or nothing was trained.
        attention: mean over all updates of the share of readings for which the student follows the teacher (Table 6);
            None for a loss without that choice.
        seconds: of training and validation.
        layout: shape of a pruned network, as plain values.
        error: why there are no figures.
    """

    seed: int
    validation: Mapping[str, float] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)
    n_parameters: int | None = None
    kept_share: float | None = None
    epoch: int = 0
    epochs: int = 0
    attention: float | None = None
    seconds: float = 0.0
    layout: Mapping[str, Any] | None = None
    error: str | None = None


def keep(path: Path, record: Record, weights: Mapping[str, Tensor]) -> None:
    """Write a result in one step."""
    save_tensors(path, {"format": _FORMAT, "record": asdict(record), "weights": dict(weights)})


def read(path: Path) -> Record | None:
    """A kept result; one that is damaged is removed and counts as absent.

    Raises:
        UserError: it is there and cannot be read.
    """
    payload = _payload(path)
    return None if payload is None else Record(**payload["record"])


def weights_of(path: Path) -> dict[str, Tensor]:
    """The weights of a kept result; empty where the network is kept elsewhere, as teachers are.

    Raises:
        UserError: there is none.
    """
    payload = _payload(path)
    if payload is None:
        raise UserError(f"{path} is gone or damaged: run the same command again")
    return dict(payload["weights"])


def _payload(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        payload = load_tensors(path)
        if payload["format"] != _FORMAT:
            raise DamagedFile("another format")
        Record(**payload["record"])
        payload["weights"].items()
    except (DamagedFile, KeyError, TypeError, AttributeError):
        path.unlink(missing_ok=True)
        return None
    return payload


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a result, so that two commands never train the same one; the second waits.

    Raises:
        UserError: the cache folder cannot be written.
    """
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock")
        lock.acquire()
    except OSError as error:
        raise UserError(
            f"cannot write to the cache folder {path.parent} ({error.strerror}); name another by --cache-dir"
        ) from None
    try:
        yield
    finally:
        lock.release()
