"""Which numbers of an STGCN belong to which channel: the groups of Eq. (12) at filter granularity.

A layer of channels is produced once and read in several places, so a channel is one group: its column of the weights
and its bias (P and Q halves of a GLU together), the graph convolution's input and output (tied by the identity
residual), its columns of LayerNorm, its slice of the next layer's input, its row or column of a 1x1 residual map.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdsearch.models.stgcn import STGCN, TemporalConv

__all__ = ["Layer", "Selection", "Side", "layers", "parameter_count"]


@dataclass(frozen=True)
class Side:
    """A dimension of a tensor along which a layer's channels lie, ``copies`` times over all of them."""

    parameter: str
    dim: int
    copies: int


@dataclass(frozen=True)
class Layer:
    """Channels that live and die together wherever they appear.

    Attributes:
        name: ``block1.mid`` (temporal GLU and graph convolution), ``block1.out`` (temporal ReLU and LayerNorm), ...,
            ``head.glu`` (with its LayerNorm), ``head.sigmoid``.
        width: how many channels.
        sides: where they appear.
    """

    name: str
    width: int
    sides: tuple[Side, ...]


def layers(model: STGCN) -> tuple[Layer, ...]:
    """The prunable layers of a network in order; the input's one channel is none of them.

    Raises:
        ValueError: gains and shifts of rank one, which no network that is pruned has.
    """
    if model.layout.affine != "full":
        raise ValueError(f"only networks with gains of every node and channel are pruned, not {model.layout.affine}")
    sides: dict[str, list[Side]] = {}
    widths: dict[str, int] = {}

    def temporal(path: str, source: str | None, target: str) -> None:
        conv = model.get_submodule(path)
        assert isinstance(conv, TemporalConv)
        widths[target] = conv.c_out
        halves = 2 if conv.activation == "glu" else 1
        mine = sides.setdefault(target, [])
        mine += [Side(f"{path}.weight", 1, halves), Side(f"{path}.bias", 0, halves)]
        if conv.residual is not None:
            mine.append(Side(f"{path}.residual", 1, 1))
        if source is None:
            return
        sides[source].append(Side(f"{path}.weight", 0, conv.kt))
        if conv.residual is not None:
            sides[source].append(Side(f"{path}.residual", 0, 1))

    def norm(path: str, layer: str) -> None:
        sides[layer] += [Side(f"{path}.gamma", 1, 1), Side(f"{path}.beta", 1, 1)]

    source = None
    for b in range(len(model.channels)):
        path, mid, out = f"blocks.{b}", f"block{b + 1}.mid", f"block{b + 1}.out"
        temporal(f"{path}.temporal_in", source, mid)
        sides[mid] += [Side(f"{path}.spatial.weight", 0, model.ks), Side(f"{path}.spatial.weight", 1, 1)]
        sides[mid].append(Side(f"{path}.spatial.bias", 0, 1))
        temporal(f"{path}.temporal_out", mid, out)
        norm(f"{path}.norm", out)
        source = out
    temporal("head.temporal_in", source, "head.glu")
    norm("head.norm", "head.glu")
    temporal("head.temporal_out", "head.glu", "head.sigmoid")
    sides["head.sigmoid"].append(Side("head.weight", 0, 1))
    return tuple(Layer(name, widths[name], tuple(found)) for name, found in sides.items())


def parameter_count(model: STGCN) -> list[tuple[int, tuple[int, ...]]]:
    """The number of parameters as a function of the widths: terms ``(factor, positions in layers(model))``.

    With ``counts`` channels left it is the sum over terms of ``factor * prod(counts[i] for i in positions)``.
    """
    found: dict[str, tuple[int, ...]] = {name: () for name, _ in model.named_parameters()}
    parts = layers(model)
    for i, layer in enumerate(parts):
        for side in layer.sides:
            found[side.parameter] += (i,)
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    return [(sizes[name] // math.prod(parts[i].width for i in at), at) for name, at in found.items()]


class Selection:
    """Channels that stay, applied to any tensor shaped like a parameter: weights, optimiser state, importances.

    Args:
        parts: of the network as it is.
        keep: by layer name, the positions that stay, ascending; a layer left out stays whole.

    Raises:
        ValueError: an unknown layer, no position, or positions that are not ascending within the layer.
    """

    def __init__(self, parts: Sequence[Layer], keep: Mapping[str, Sequence[int]]) -> None:
        known = {layer.name: layer for layer in parts}
        self.keep: dict[str, tuple[int, ...]] = {name: tuple(range(layer.width)) for name, layer in known.items()}
        for name, positions in keep.items():
            if name not in known:
                raise ValueError(f"no layer {name!r}: choose from {', '.join(known)}")
            kept, width = tuple(int(i) for i in positions), known[name].width
            if not kept or kept[0] < 0 or kept[-1] >= width or list(kept) != sorted(set(kept)):
                raise ValueError(f"layer {name}: positions {kept} are not ascending ones of {width} channels")
            self.keep[name] = kept
        self._rows: dict[str, list[tuple[int, Tensor]]] = {}
        for layer in parts:
            if len(self.keep[layer.name]) == layer.width:
                continue
            kept_positions = torch.tensor(self.keep[layer.name])
            for side in layer.sides:
                starts = torch.arange(side.copies)[:, None] * layer.width
                rows = (starts + kept_positions).flatten()
                self._rows.setdefault(side.parameter, []).append((side.dim, rows))

    def __call__(self, parameter: str, tensor: Tensor) -> Tensor:
        """What is left of a tensor that is shaped like ``parameter``."""
        for dim, rows in self._rows.get(parameter, ()):
            tensor = tensor.index_select(dim, rows.to(tensor.device))
        return tensor
