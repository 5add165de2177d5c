"""Teacher correlations in 16-bit fixed point, and the rows of them that a minibatch reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["CorrelationRows", "PackedCorrelation", "share"]

_STEPS = 32767


@dataclass(frozen=True, eq=False)
class PackedCorrelation:
    """Non-negative values ``[R, ...]`` as ``scale[r] * q`` with ``q`` in 0..32767.

    A row is one absolute time step of the teacher's pass over all days. Its scale is its own largest value over 32767,
    so rows can be encoded day by day and the error is at most (largest value of the row) / 65534.

    Attributes:
        values: int16 ``[R, ...]``.
        scale: float32 ``[R]``.
    """

    values: Tensor
    scale: Tensor

    @classmethod
    def encode(cls, values: Tensor) -> PackedCorrelation:
        """Pack ``values [R, ...]``, all of them at least 0 and finite."""
        values = values.float()
        scale = values.flatten(1).amax(dim=1) / _STEPS
        # A row of zeros divides by one; the upper clamp takes up the rounding of the division.
        unit = torch.where(scale > 0, scale, 1.0).view(-1, *[1] * (values.dim() - 1))
        return cls((values / unit).round_().clamp_(max=_STEPS).to(torch.int16), scale)

    @classmethod
    def concatenate(cls, parts: list[PackedCorrelation]) -> PackedCorrelation:
        """Rows of all parts, in order."""
        return cls(torch.cat([part.values for part in parts]), torch.cat([part.scale for part in parts]))

    @classmethod
    def from_arrays(cls, values: np.ndarray[Any, Any], scale: np.ndarray[Any, Any]) -> PackedCorrelation:
        """Share memory with NumPy arrays, also read-only ones: nothing here writes to them."""
        return cls(share(values), share(scale))

    def arrays(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """``(values, scale)`` as NumPy arrays on the same memory, for storage or Ray's object store."""
        return self.values.cpu().numpy(), self.scale.cpu().numpy()

    def decode(self, rows: Tensor | None = None) -> Tensor:
        """Float32 values of all rows, or of the given ones: ``rows [...] -> [..., *values.shape[1:]]``."""
        values, scale = (self.values, self.scale) if rows is None else (self.values[rows], self.scale[rows])
        return values * scale.view(*scale.shape, *[1] * (values.dim() - scale.dim()))

    def to(self, device: torch.device | str) -> PackedCorrelation:
        """The same on another device."""
        return PackedCorrelation(self.values.to(device), self.scale.to(device))

    @property
    def n_bytes(self) -> int:
        """Bytes of values and scales."""
        return self.values.numel() * self.values.element_size() + self.scale.numel() * self.scale.element_size()


def share(array: np.ndarray[Any, Any]) -> Tensor:
    """``torch.from_numpy`` without its warning about read-only memory."""
    if array.flags.writeable:
        return torch.from_numpy(array)
    # The buffer protocol has no way to a writable view of read-only memory; the array interface has.
    interface = {**array.__array_interface__}
    interface["data"] = (interface["data"][0], False)
    return torch.from_numpy(np.asarray(_Window(interface, array)))


class _Window:
    """Writable-looking view of an array that it keeps alive."""

    def __init__(self, interface: dict[str, Any], owner: np.ndarray[Any, Any]) -> None:
        self.__array_interface__ = interface
        self._owner = owner


@dataclass(frozen=True, eq=False)
class CorrelationRows:
    """What a minibatch reads of one layer's bank, without copying it.

    Attributes:
        bank: spatial: ``values [R, N(N-1)/2]``; temporal: ``values [R, lags, N]``.
        rows: int64 ``[B, T_l]``, the bank's row of each time step of the student's feature.
    """

    bank: PackedCorrelation
    rows: Tensor
