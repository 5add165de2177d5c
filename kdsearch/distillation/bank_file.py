"""Teacher banks on disk, beside the networks they were made of: a search that is carried on begins at once.

A bank along nine steps of three teachers takes minutes; reading it back takes less than a second.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdsearch.data import Dataset
from kdsearch.distillation.bank import TeacherBank
from kdsearch.distillation.losses import Needs
from kdsearch.distillation.sampled import Sampling
from kdsearch.errors import UserError
from kdsearch.training.checkpoint import Checkpoint, load_tensors, save_tensors

__all__ = ["kept_or_made", "path_of"]

# A file that is still being written is younger than this.
_WRITTEN_WITHIN_S = 3600.0
# Raised whenever a bank of the same teachers holds something else.
_FORMAT = 1
# All banks of a cache folder together; those that were read longest ago go first. A larger bank is not kept.
_MOST_BYTES = 4 << 30


def path_of(
    cache: Path,
    dataset: Dataset,
    teachers: Sequence[Checkpoint],
    needs: Needs,
    sampling: Sampling | None,
    steps: int,
) -> Path:
    """The file of a bank in the cache: told apart by data, the teachers' weights and what is kept of them.

    Args:
        cache: folder of trained networks.
        dataset: whose training days the bank covers.
        teachers: whose mean it holds.
        needs: of the loss.
        sampling: of node pairs; None keeps all.
        steps: of the roll-out.
    """
    what = hashlib.sha256()
    told = (dataset.fingerprint, asdict(needs), None if sampling is None else asdict(sampling), steps, _FORMAT)
    what.update(repr(told).encode())
    for teacher in teachers:
        what.update(repr((teacher.channels, teacher.layout)).encode())
        for name, weight in sorted(teacher.weights.items()):
            what.update(name.encode())
            what.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return cache / f"{dataset.name}-bank-{what.hexdigest()[:16]}.pt"


def kept_or_made(path: Path, make: Callable[[], TeacherBank]) -> tuple[TeacherBank, bool]:
    """The bank in a file, or one that is made now and kept there if it can be.

    A file that is damaged counts as absent. One that cannot be written costs nothing but the time next time.

    Args:
        path: from :func:`path_of`.
        make: makes the bank.

    Returns:
        The bank, and whether it came from the file.
    """
    bank = _read(path)
    if bank is not None:
        return bank, True
    bank = make()
    if bank.n_bytes <= _MOST_BYTES:
        _make_room(path, bank.n_bytes)
        with contextlib.suppress(UserError):
            save_tensors(path, {f.name: _mapped(getattr(bank, f.name), _tensor) for f in fields(bank)})
    return bank, False


def _read(path: Path) -> TeacherBank | None:
    try:
        told = load_tensors(path)
        bank = TeacherBank(**{name: _mapped(value, _array) for name, value in told.items()})
    except (UserError, TypeError):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return bank


def _make_room(path: Path, size: int) -> None:
    """Remove the banks read longest ago until ``size`` bytes more are within what is kept."""
    found = []
    for left in path.parent.glob(".*-bank-*.tmp"):  # of a process that was killed while it wrote
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _WRITTEN_WITHIN_S:
                left.unlink()
    for other in path.parent.glob("*-bank-*.pt"):
        with contextlib.suppress(OSError):  # another search may remove the same
            told = other.stat()
            found.append((told.st_mtime, told.st_size, other))
    held = sum(bytes_ for _, bytes_, _ in found)
    for _, bytes_, other in sorted(found):
        if held + size <= _MOST_BYTES:
            return
        with contextlib.suppress(OSError):
            other.unlink()
        held -= bytes_


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """``value`` with ``change`` applied inside lists and tuples."""
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(item, change) for item in value)
    return change(value)


def _tensor(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _array(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else value
