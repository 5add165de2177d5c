"""What one stage can take away: whole channels, or single weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from kdsearch.models.stgcn import STGCN
from kdsearch.pruning.compact import compact
from kdsearch.pruning.importance import Importance, group_importance
from kdsearch.pruning.schedule import Counts
from kdsearch.pruning.settings import GranularityName
from kdsearch.pruning.structure import Selection, layers, parameter_count
from kdsearch.training.fit import Trainer

__all__ = ["Filters", "Granularity", "Weights", "granularity"]


class Granularity(Protocol):
    """The units of pruning, layer by layer."""

    names: tuple[str, ...]

    @property
    def widths(self) -> Counts:
        """Units that are left in each layer."""

    @property
    def channels(self) -> dict[str, tuple[int, ...]]:
        """Channels left in each layer, numbered as in the network that pruning began with; empty for weights."""

    def size(self, counts: Counts) -> int:
        """Parameters of the network with so many units in each layer."""

    def importance(self, values: Mapping[str, Tensor]) -> list[Tensor]:
        """Of the units that are left in each layer, from the importance of each weight."""

    def prune(self, trainer: Trainer, importance: Importance, keep: Sequence[Tensor]) -> None:
        """Take away all but the units at these ascending positions of each layer."""

    def enforce(self, model: STGCN) -> None:
        """After an update, see that what was taken away stays away."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""

    def load_state_dict(self, state: Mapping[str, Any], model: STGCN) -> None:
        """Carry on with the network as it was."""


class Filters:
    """Channels, physically removed at every stage: what is trained is already the small dense network."""

    def __init__(self, model: STGCN) -> None:
        self._layers = layers(model)
        self._terms = parameter_count(model)
        self.names = tuple(layer.name for layer in self._layers)
        self._origin = [tuple(range(layer.width)) for layer in self._layers]

    @property
    def widths(self) -> Counts:
        """Channels left in each layer."""
        return tuple(layer.width for layer in self._layers)

    @property
    def channels(self) -> dict[str, tuple[int, ...]]:
        """Original numbers of the channels left."""
        return dict(zip(self.names, self._origin, strict=True))

    def size(self, counts: Counts) -> int:
        """Parameters of the network with so many channels."""
        return sum(factor * math.prod(counts[i] for i in at) for factor, at in self._terms)

    def importance(self, values: Mapping[str, Tensor]) -> list[Tensor]:
        """Eq. (12) with S the group of each channel."""
        return [group_importance(layer, values) for layer in self._layers]

    def prune(self, trainer: Trainer, importance: Importance, keep: Sequence[Tensor]) -> None:
        """Put the smaller network in the trainer's place."""
        positions = [k.tolist() for k in keep]
        chosen = Selection(self._layers, dict(zip(self.names, positions, strict=True)))
        smaller = compact(trainer.model, chosen)
        trainer.replace_model(smaller, chosen)
        importance.cut(chosen)
        self._layers = layers(smaller)
        self._origin = [tuple(was[i] for i in kept) for was, kept in zip(self._origin, positions, strict=True)]

    def enforce(self, model: STGCN) -> None:
        """Nothing is there that could come back."""

    def state_dict(self) -> dict[str, Any]:
        """Original numbers; the network's layout says the rest."""
        return {"origin": list(self._origin)}

    def load_state_dict(self, state: Mapping[str, Any], model: STGCN) -> None:
        """Carry on with a network that was pruned."""
        self._layers = layers(model)
        self._origin = [tuple(kept) for kept in state["origin"]]


class Weights:
    """Single weights, held at zero by masks; a layer is a module with all its tensors (weight, bias, residual map)."""

    def __init__(self, model: STGCN) -> None:
        self._tensors: dict[str, list[str]] = {}
        for name, _ in model.named_parameters():
            self._tensors.setdefault(name.rpartition(".")[0], []).append(name)
        self.names = tuple(self._tensors)
        self._masks = {name: torch.ones_like(p) for name, p in model.named_parameters()}

    @property
    def widths(self) -> Counts:
        """Weights left in each layer."""
        return tuple(int(sum(self._masks[n].sum() for n in tensors)) for tensors in self._tensors.values())

    @property
    def channels(self) -> dict[str, tuple[int, ...]]:
        """None: every channel keeps its place."""
        return {}

    def size(self, counts: Counts) -> int:
        """Every parameter is in one layer."""
        return sum(counts)

    def importance(self, values: Mapping[str, Tensor]) -> list[Tensor]:
        """Eq. (12) with S a single weight."""
        return [torch.cat([values[n][self._masks[n] > 0] for n in tensors]) for tensors in self._tensors.values()]

    def prune(self, trainer: Trainer, importance: Importance, keep: Sequence[Tensor]) -> None:
        """Take the others out of the masks (line 19)."""
        for tensors, kept in zip(self._tensors.values(), keep, strict=True):
            mask = torch.cat([self._masks[n].flatten() for n in tensors])
            left = mask.nonzero().flatten()[kept.to(mask.device)]
            mask = torch.zeros_like(mask).index_fill_(0, left, 1.0)
            for name, part in zip(tensors, mask.split([self._masks[n].numel() for n in tensors]), strict=True):
                self._masks[name] = part.view_as(self._masks[name]).clone()
        self.enforce(trainer.model)

    @torch.no_grad()
    def enforce(self, model: STGCN) -> None:
        """Multiply by the masks (section 3.2)."""
        named = dict(model.named_parameters())
        torch._foreach_mul_([named[name] for name in self._masks], list(self._masks.values()))

    def state_dict(self) -> dict[str, Any]:
        """The masks."""
        return {"masks": dict(self._masks)}

    def load_state_dict(self, state: Mapping[str, Any], model: STGCN) -> None:
        """Carry on with the masks."""
        self._masks = {name: mask.to(self._masks[name].device) for name, mask in state["masks"].items()}


def granularity(name: GranularityName, model: STGCN) -> Granularity:
    """The units of that name in a network."""
    return Filters(model) if name == "filter" else Weights(model)
