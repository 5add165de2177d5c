"""Eq. (12): how much each weight, and each group of weights, matters to a loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from kdsearch.models.stgcn import STGCN
from kdsearch.pruning.structure import Layer, Selection, Side

__all__ = ["Importance", "Statistics", "group_importance"]

_BINS = 30


class Importance:
    """KDIS of Algorithm 1: ``(g w)^2`` of every weight, summed over minibatches and averaged at each stage.

    Algorithm 1 divides KDIS by the number of minibatches (line 15) and goes on adding to it (line 12) without setting
    it back to zero, so each stage's average enters the next one as one minibatch more; so it does here (reading).

    Attributes:
        values: by parameter name, shaped like it.
        minibatches: added since the last :meth:`average`.
    """

    def __init__(self, model: STGCN) -> None:
        self.values: dict[str, Tensor] = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
        self.minibatches = 0

    @torch.no_grad()
    def add(self, model: STGCN, gradients: Iterable[Tensor | None]) -> None:
        """Take in one minibatch.

        Args:
            model: whose weights the gradients are of, before the update.
            gradients: one per parameter; None counts as zero.
        """
        found = [
            (self.values[name], p, g)
            for (name, p), g in zip(model.named_parameters(), gradients, strict=True)
            if g is not None
        ]
        self.minibatches += 1
        if found:
            values, weights, present = (list(part) for part in zip(*found, strict=True))
            products = torch._foreach_mul(present, weights)
            torch._foreach_addcmul_(values, products, products)

    def average(self) -> None:
        """Line 15: divide by the number of minibatches since the last time."""
        torch._foreach_div_(list(self.values.values()), float(self.minibatches))
        self.minibatches = 0

    def cut(self, chosen: Selection) -> None:
        """Forget what was pruned."""
        self.values = {name: chosen(name, value) for name, value in self.values.items()}

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {"values": dict(self.values), "minibatches": self.minibatches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Carry on; tensors go where they were made for."""
        self.values = {name: value.to(self.values[name].device) for name, value in state["values"].items()}
        self.minibatches = int(state["minibatches"])


def group_importance(layer: Layer, values: Mapping[str, Tensor]) -> Tensor:
    """KDIS of each channel of a layer: the sum over all weights of its group, each counted once; float64 ``[width]``.

    Args:
        layer: the channels.
        values: by parameter name, the importance of each weight.
    """
    by_parameter: dict[str, list[Side]] = {}
    for side in layer.sides:
        by_parameter.setdefault(side.parameter, []).append(side)
    total = torch.zeros(layer.width, dtype=torch.float64, device=next(iter(values.values())).device)
    for parameter, sides in by_parameter.items():
        value = values[parameter].double()
        for side in sides:
            total += value.movedim(side.dim, 0).reshape(side.copies, layer.width, -1).sum(dim=(0, 2))
        if len(sides) == 2:  # the graph convolution's weights from a channel to itself stand in its row and its column
            rows, columns = sorted(sides, key=lambda side: side.dim)
            square = value.reshape(rows.copies, layer.width, columns.copies, layer.width)
            total -= square.diagonal(dim1=1, dim2=3).sum(dim=(0, 1))
    return total


@dataclass(frozen=True)
class Statistics:
    """Importances of one layer at one stage, before it was pruned, as a histogram over powers of ten.

    The fields are those of TensorBoard's ``add_histogram_raw``; zeros are counted apart.

    Attributes:
        count: groups (or weights) of the layer.
        zeros: how many of them have importance 0.
        minimum, maximum, total, squares: of all importances.
        limits: upper limit of each bin, ascending.
        counts: how many importances above 0 lie in each bin.
    """

    count: int
    zeros: int
    minimum: float
    maximum: float
    total: float
    squares: float
    limits: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, importance: Tensor) -> Statistics:
        """Of importances ``[n]``."""
        x = importance.detach().double().cpu()
        positive = x[x > 0]
        limits: tuple[float, ...] = ()
        counts: tuple[int, ...] = ()
        if len(positive) and bool(torch.isfinite(positive).all()):
            low, high = math.log10(float(positive.min())), math.log10(float(positive.max()))
            edges = torch.linspace(low, high, _BINS + 1, dtype=torch.float64)
            place = torch.bucketize(positive.log10(), edges[1:-1])
            limits = tuple(float(10.0**e) for e in edges[1:].tolist())
            counts = tuple(torch.bincount(place, minlength=_BINS).tolist())
        return cls(
            count=len(x),
            zeros=len(x) - len(positive),
            minimum=float(x.min()),
            maximum=float(x.max()),
            total=float(x.sum()),
            squares=float(x.square().sum()),
            limits=limits,
            counts=counts,
        )

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)
