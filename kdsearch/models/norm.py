"""LayerNorm of the STGCN: what its gain and shift consist of."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from kdsearch.models._layers import node_norm
from kdsearch.models.layout import Affine

__all__ = ["NORMS", "LayerNorm", "NodeLayerNorm", "RankOneLayerNorm"]


class LayerNorm(nn.Module, ABC):
    """LayerNorm over (node, channel) within each time step, eps 1e-6 inside the root."""

    @abstractmethod
    def affine(self) -> tuple[Tensor, Tensor]:
        """Gamma and beta, ``[N, C]``."""

    def forward(self, x: Tensor) -> Tensor:
        """``[C, B, T, N] -> [C, B, T, N]``."""
        return node_norm(x, *self.affine())


class NodeLayerNorm(LayerNorm):
    """Gamma and beta of every node and channel, as published."""

    def __init__(self, n_nodes: int, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(n_nodes, channels))
        self.beta = nn.Parameter(torch.zeros(n_nodes, channels))

    def affine(self) -> tuple[Tensor, Tensor]:
        """Trained as they are."""
        return self.gamma, self.beta


class RankOneLayerNorm(LayerNorm):
    """Gamma ``h_n g_c`` and beta ``b_c + d_n e_c``: ``2 N + 3 C`` parameters instead of ``2 N C``."""

    def __init__(self, n_nodes: int, channels: int) -> None:
        super().__init__()
        self.gain, self.node_gain = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.ones(n_nodes, 1))
        self.shift, self.node_shift = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(n_nodes, 1))
        self.slope = nn.Parameter(torch.ones(channels))

    def affine(self) -> tuple[Tensor, Tensor]:
        """Products of a sensor's and a channel's factors."""
        return self.node_gain * self.gain, self.shift + self.node_shift * self.slope


NORMS: dict[Affine, type[NodeLayerNorm | RankOneLayerNorm]] = {"full": NodeLayerNorm, "rank1": RankOneLayerNorm}
