"""Physical removal: a smaller dense STGCN that computes what is left of a network.

The pruned function is that of the network without the channels. Zeroing channels inside the full network is not the
same: LayerNorm would still count them, a GLU unit without weights passes half its residual on, a sigmoid unit gives
0.5. Masks compute this function only if they zero units *after* their activation and LayerNorm's mean and variance
run over the kept channels (``tests/pruning`` holds that definition and compares).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from kdsearch.models.layout import Channels, Layout, Residual
from kdsearch.models.stgcn import STGCN
from kdsearch.pruning.structure import Selection, layers

__all__ = ["compact", "cut_layout"]


def compact(model: STGCN, keep: Mapping[str, Sequence[int]] | Selection) -> STGCN:
    """A smaller network that computes what ``model`` computes without some channels.

    Args:
        model: left as it is.
        keep: by name (:func:`kdsearch.pruning.structure.layers`), the channels that stay, as ascending positions; a
            layer left out stays whole.

    Raises:
        ValueError: see :class:`Selection`.
    """
    chosen = keep if isinstance(keep, Selection) else Selection(layers(model), keep)
    smaller = model.like(cut_layout(model.layout, chosen.keep))
    left = dict(smaller.named_parameters())
    with torch.no_grad():
        for name, p in model.named_parameters():
            left[name].copy_(chosen(name, p))
    return smaller


def cut_layout(layout: Layout, keep: Mapping[str, Sequence[int]]) -> Layout:
    """The layout with only the kept channels of every layer; residuals still add each to the channel they added it to.

    Args:
        layout: of the network as it is.
        keep: positions that stay, for every layer.
    """
    names = [f"block{b + 1}.{part}" for b in range(len(layout.blocks)) for part in ("mid", "out")]
    kept = [tuple(range(layout.blocks[0][0])), *(keep[name] for name in (*names, "head.glu"))]
    widths = [len(positions) for positions in kept]
    blocks: Channels = tuple((widths[2 * b], widths[2 * b + 1], widths[2 * b + 2]) for b in range(len(layout.blocks)))
    residuals = [_cut_residual(r, *ends) for r, *ends in zip(layout.residuals, kept[:-1], kept[1:], strict=True)]
    head = (widths[-1], len(keep["head.sigmoid"]))
    return replace(layout, blocks=blocks, head=head, residuals=tuple(residuals))


def _cut_residual(residual: Residual, inputs: Sequence[int], outputs: Sequence[int]) -> Residual:
    if residual is None:
        return None
    place = {channel: i for i, channel in enumerate(outputs)}
    return tuple(place.get(residual[channel], -1) for channel in inputs)
