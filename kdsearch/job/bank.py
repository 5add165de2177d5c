"""What trials are told of the teacher: a bank of all pairs, one of sampled pairs, or the teacher itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdsearch.data import Dataset, Windows
from kdsearch.distillation import bank_file
from kdsearch.distillation.bank import TeacherBank, bank_bytes
from kdsearch.distillation.budget import sampling_for
from kdsearch.distillation.ensemble import BANKS_AT_ONCE, averaged
from kdsearch.distillation.losses import Needs
from kdsearch.distillation.sampled import Sampling, n_sampled_pairs
from kdsearch.errors import UserError
from kdsearch.limits import free_memory
from kdsearch.models.stgcn import TEACHER
from kdsearch.search.resources import gpu_bytes
from kdsearch.training.checkpoint import Checkpoint
from kdsearch.training.network import new_network

__all__ = ["allowed_bytes", "build", "check_teachers", "choose_sampling", "protocol_of", "recorded_sampling"]

# A bank larger than this share of the memory that is free now is not built.
_MEMORY_SHARE = 0.25
_DEVICE_SHARE = 0.1

# Of a protocol and of a search's identity, where pairs are sampled: results then compare only with the same pairs.
KEY = "sampled pairs (--bank-memory)"


def choose_sampling(dataset: Dataset, needs: Needs, memory: int | str, seed: int, teachers: int = 1) -> Sampling | None:
    """Whether the bank will hold sampled pairs; decided before anything is trained, as it changes results.

    Args:
        dataset: whose training days the bank covers.
        needs: of the loss.
        memory: bytes, or ``"auto"``.
        seed: of the sampling.
        teachers: whose mean the bank holds.
    """
    if not needs.spatial_correlation:
        return None
    network = new_network(dataset, TEACHER, seed=0)
    allowed = allowed_bytes(memory) // _at_once(teachers)
    return sampling_for(network, dataset.split.train, dataset.steps_per_day, needs, allowed, seed)


def check_teachers(
    dataset: Dataset, loss: str, needs: Needs, teachers: int, sampling: Sampling | None, memory: int | str, steps: int
) -> None:
    """Refuse several teachers where they have no mean, before they are trained.

    Args:
        dataset: whose training days the bank covers.
        loss: by name, for the message.
        needs: of the loss.
        teachers: how many.
        sampling: from :func:`choose_sampling`.
        memory: bytes, or ``"auto"``.
        steps: of the roll-out that students are trained through.

    Raises:
        UserError: the loss reads no teacher or hidden channels, or the bank would not fit.
    """
    if teachers == 1:
        return
    if not needs.teacher:
        raise UserError(f"--teachers {teachers}: --loss {loss} reads no teacher: leave the option out")
    if needs.temporal_features or needs.spatial_features:
        raise UserError(
            f"--teachers {teachers}: --loss {loss} compares hidden channels, which mean something else in every "
            "teacher: take one, or a loss that compares none, such as stcd"
        )
    model = new_network(dataset, TEACHER, seed=0)
    steps = steps if needs.prediction else 1
    size = bank_bytes(model, dataset.split.train, dataset.steps_per_day, needs, sampling, steps)
    _check_mean(teachers, size, memory)


def _check_mean(teachers: int, size: int, memory: int | str) -> None:
    allowed = allowed_bytes(memory)
    if size * _at_once(teachers) > allowed:
        raise UserError(
            f"--teachers {teachers}: the bank of their mean takes {size * _at_once(teachers) / 1e9:.2f} GB while it is "
            f"made, more than the {allowed / 1e9:.2f} GB allowed (--bank-memory): allow more, or take one teacher"
        )


def _at_once(teachers: int) -> int:
    """Banks in memory while one is made."""
    return 1 if teachers == 1 else BANKS_AT_ONCE


def protocol_of(sampling: Sampling | None) -> dict[str, Any]:
    """What a protocol and an identity say of sampled pairs: nothing where all pairs are compared."""
    return {} if sampling is None else {KEY: {"reach": sampling.reach, "seed": sampling.seed}}


def recorded_sampling(protocol: Mapping[str, Any]) -> Sampling | None:
    """The sampling that the protocol of a stored result, or the identity of a search, names."""
    told = protocol.get(KEY)
    return None if told is None else Sampling(int(told["reach"]), int(told["seed"]))


def build(
    dataset: Dataset,
    needs: Needs,
    teachers: Sequence[Checkpoint],
    sampling: Sampling | None,
    memory: int | str,
    device: str,
    cache: Path,
    say: Callable[[str], None],
    steps: int = 1,
) -> tuple[TeacherBank | None, Checkpoint | None, float]:
    """The bank, or the teacher where no bank fits; and the seconds it took. Says in one line which.

    Args:
        dataset: whose training days the bank covers.
        needs: of the loss; a loss that reads no teacher gets neither.
        teachers: trained; the bank holds the mean of several.
        sampling: from :func:`choose_sampling`.
        memory: bytes, or ``"auto"``; a bank of all pairs may change with it to the teacher itself, which computes the
            same.
        device: where the teacher runs.
        cache: folder of trained networks, where the bank is kept too.
        say: takes a line.
        steps: of the roll-out that students are trained through.

    Raises:
        UserError: the pairs that an earlier search sampled do not fit.
    """
    if not needs.teacher:
        return None, None, 0.0
    began = time.perf_counter()
    model = teachers[0].network(dataset, device)
    steps = steps if needs.prediction else 1
    size = bank_bytes(model, dataset.split.train, dataset.steps_per_day, needs, sampling, steps)
    allowed = allowed_bytes(memory)
    if len(teachers) > 1 and sampling is None:
        _check_mean(len(teachers), size, memory)
    elif sampling is None and size > allowed:
        say(
            f"teacher bank: {size / 1e9:.2f} GB exceed the {allowed / 1e9:.2f} GB allowed (--bank-memory); "
            "the teacher runs with every trial instead, which is much slower"
        )
        return None, teachers[0], 0.0
    if sampling is not None and size * _at_once(len(teachers)) > (free_memory() // 2 if memory == "auto" else allowed):
        raise UserError(
            f"--bank-memory: the sampled pairs that this began with take {size / 1e9:.2f} GB, which is more than there "
            "is or was allowed: allow more, or run it where there is more memory"
        )

    def banks() -> Iterator[TeacherBank]:
        days = Windows(dataset, "train", device).days
        for teacher in teachers:
            network = teacher.network(dataset, device)
            one = TeacherBank.build(network, days, needs, sampling)
            yield one.with_rollout(network, days, steps) if steps > 1 else one

    path = bank_file.path_of(cache, dataset, teachers, needs, sampling, steps)
    bank, found = bank_file.kept_or_made(path, lambda: averaged(banks()))
    seconds = time.perf_counter() - began
    what = "" if len(teachers) == 1 else f"mean of {len(teachers)} teachers, "
    if sampling is not None:
        n = dataset.n_nodes
        share = n_sampled_pairs(n, sampling.reach) / (n * (n - 1) // 2)
        whole = bank_bytes(model, dataset.split.train, dataset.steps_per_day, needs)
        what += f"sampled pairs, {100 * share:.1f}% of all at each time step (all: {whole / 1e9:.2f} GB), "
    elif needs.spatial_correlation:
        what += "all pairs, "
    say(f"teacher bank: {what}{bank.n_bytes / 1e6:.0f} MB {'from the cache ' if found else ''}in {seconds:.1f} s")
    return bank, None, seconds


def allowed_bytes(memory: int | str) -> int:
    """Memory for a bank: what was given, or for ``"auto"`` a quarter of what is free now.

    Where there is a GPU also no more than a tenth of its memory: every trial on it holds a bank of its own there.
    """
    if memory != "auto":
        return int(memory)
    allowed = int(_MEMORY_SHARE * free_memory())
    device = gpu_bytes()
    return allowed if device is None else min(allowed, int(_DEVICE_SHARE * device))
