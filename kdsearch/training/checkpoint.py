"""Trained networks on disk: written atomically, read without ever unpickling code."""

from __future__ import annotations

import errno
import io
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdsearch.atomic import atomic_write
from kdsearch.data import Dataset
from kdsearch.data.site import Site
from kdsearch.errors import UserError
from kdsearch.models.stgcn import STGCN, Channels, Layout
from kdsearch.training.network import new_network

__all__ = ["Checkpoint", "DamagedFile", "load_checkpoint", "load_tensors", "save_checkpoint", "save_tensors"]

_FORMAT = 1


class DamagedFile(UserError):
    """A file was read and holds nothing of use; not one that could not be read just now."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and what it was trained on.

    Attributes:
        channels: of the STGCN, as :attr:`STGCN.channels`.
        weights: its state dict, on the CPU.
        dataset, data: name and fingerprint of the dataset.
        epoch: the epoch the weights are of.
        validation: its nine validation figures, and ``"score"``.
        seconds: wall time of the whole training.
        diverged: the epoch in which it diverged, so that the weights are those of an earlier one. None: it did not.
        layout: the whole shape, as :attr:`STGCN.layout`, of a network that the channels alone do not describe: a
            pruned one. None: the published network with these channels.
        site: graph, normalisation and unit, so that the network can forecast without its dataset. None in cached
            references, and in checkpoints of earlier versions.
    """

    channels: Channels
    weights: dict[str, Tensor]
    dataset: str
    data: str
    epoch: int
    validation: dict[str, float]
    seconds: float
    layout: Layout | None = None
    site: Site | None = None
    diverged: int | None = None

    def network(self, dataset: Dataset | Site, device: str = "cpu") -> STGCN:
        """The network, in evaluation mode.

        Raises:
            UserError: ``dataset`` is not the one it was trained on, or tensors are missing, extra or of wrong shape.
        """
        if dataset.fingerprint != self.data:
            raise UserError(
                f"the checkpoint was trained on {self.dataset!r} (data {self.data}), not on {dataset.name!r} "
                f"(data {dataset.fingerprint}); "
                + (
                    "its readings, its declaration or the version of kdsearch are not those of then"
                    if self.dataset == dataset.name
                    else "give the checkpoint and the dataset that belong together"
                )
            )
        try:
            model = new_network(dataset, self.layout or self.channels, seed=0)
            model.load_state_dict(self.weights)
        except (RuntimeError, ValueError) as error:
            detail = " ".join(str(error).split())[:500]
            raise UserError(f"the checkpoint's tensors do not fit its channels {self.channels}: {detail}") from None
        return model.to(device).eval()


def save_tensors(path: Path, payload: dict[str, Any]) -> None:
    """Write tensors and plain values atomically: a reader sees the old file or the new one, never half of one.

    Raises:
        UserError: the folder cannot be written, or its disk is full.
    """
    try:
        with atomic_write(path) as temporary, _Telling(temporary) as file:
            try:
                torch.save(payload, file)
            except RuntimeError as error:  # torch tells of a full disk in words of its own
                raise file.failed or error from None
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}): make room, or name another") from None


class _Telling(io.FileIO):
    """A file to write that remembers what went wrong."""

    failed: OSError | None = None

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w")

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        try:
            done = 0
            while done < len(view):  # a single call writes 2 GiB at most
                done += super().write(view[done:]) or 0
        except OSError as error:
            self.failed = error
            raise
        return done


def load_tensors(path: Path) -> dict[str, Any]:
    """Read what :func:`save_tensors` wrote.

    Raises:
        DamagedFile: it holds anything but tensors and plain values.
        UserError: it is missing or cannot be read.
        MemoryError: there is none left to read it into.
    """
    try:
        with path.open("rb") as file:
            payload = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no checkpoint at {path}") from None
    except MemoryError:
        raise
    except Exception as error:
        # Half a file makes torch look before its beginning, which is an invalid argument.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise UserError(f"{path} cannot be read ({error.strerror or error})") from None
        if "allocate memory" in str(error):  # of torch, a RuntimeError
            raise MemoryError(str(error)) from None
        # torch.load fails in a dozen ways on a damaged or foreign file; all of them mean the same to its user.
        raise DamagedFile(
            f"{path} is not a readable checkpoint ({type(error).__name__}); remove it or name another"
        ) from None
    if not isinstance(payload, dict):
        raise DamagedFile(f"{path} is not a checkpoint of kdsearch: it holds a {type(payload).__name__}")
    return payload


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` to ``path`` atomically."""
    payload = {"format": _FORMAT, **asdict(replace(checkpoint, site=None))}
    if checkpoint.site is not None:
        payload["site"] = {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in checkpoint.site.plain().items()
        }
    save_tensors(path, payload)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a :class:`Checkpoint`.

    Raises:
        UserError: see :func:`load_tensors`; :class:`DamagedFile` also if a field is missing or of another format.
    """
    payload = load_tensors(path)
    if payload.pop("format", None) != _FORMAT:
        raise DamagedFile(f"{path} is not a checkpoint of this version of kdsearch (format {_FORMAT})")
    try:
        payload["channels"] = tuple((int(a), int(b), int(c)) for a, b, c in payload["channels"])
        if not payload["channels"] or any(n < 1 for block in payload["channels"] for n in block):
            raise ValueError(f"channels {payload['channels']} are those of no network")
        if payload.get("layout") is not None:
            payload["layout"] = Layout.from_plain(payload["layout"])
            if payload["layout"].blocks != payload["channels"]:
                raise ValueError("its channels and its layout disagree")
        if payload.get("site") is not None:
            payload["site"] = Site.from_plain(payload["site"])
        _check_types(payload)
        return Checkpoint(**payload)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DamagedFile(f"{path} is not a whole checkpoint of kdsearch: {error}") from None


def _check_types(payload: dict[str, Any]) -> None:
    for name, kind in (("weights", dict), ("dataset", str), ("data", str), ("epoch", int), ("validation", dict)):
        if not isinstance(payload.get(name), kind):
            raise TypeError(f"{name} is no {kind.__name__}")
    for name, value in payload["weights"].items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise TypeError(f"{name!r} among its weights is no tensor")
