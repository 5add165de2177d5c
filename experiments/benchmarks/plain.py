"""STGCN as everybody writes it in PyTorch: Conv2d over ``[B, C, T, N]``, graph product by einsum, nothing clever.

It computes the same function as :class:`kdsearch.models.stgcn.STGCN` and takes its weights; it is what the speed of
that one is measured against.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdsearch.models.stgcn import STGCN, Features

__all__ = ["PlainSTGCN"]


class Align(nn.Module):
    """The residual's channels: mapped where they get fewer, else padded with zeros."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.c_in, self.c_out = c_in, c_out
        if c_in > c_out:
            self.conv = nn.Conv2d(c_in, c_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.c_in > self.c_out:
            return self.conv(x)
        if self.c_in < self.c_out:
            batch, _, steps, n = x.shape
            return torch.cat([x, torch.zeros(batch, self.c_out - self.c_in, steps, n).to(x)], dim=1)
        return x


class TemporalConv(nn.Module):
    def __init__(self, c_in: int, c_out: int, kt: int, activation: str) -> None:
        super().__init__()
        self.kt, self.c_out, self.activation = kt, c_out, activation
        self.align = Align(c_in, c_out)
        self.conv = nn.Conv2d(c_in, 2 * c_out if activation == "glu" else c_out, (kt, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.activation == "sigmoid":
            return torch.sigmoid(y)
        residual = self.align(x)[:, :, self.kt - 1 :]
        if self.activation == "glu":
            p, q = y[:, : self.c_out], y[:, self.c_out :]
            return (p + residual) * torch.sigmoid(q)
        return torch.relu(y + residual)


class SpatialConv(nn.Module):
    def __init__(self, channels: int, ks: int, laplacian: Tensor) -> None:
        super().__init__()
        self.ks = ks
        self.register_buffer("laplacian", laplacian, persistent=False)
        self.weight = nn.Parameter(torch.empty(ks, channels, channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = x.permute(0, 2, 3, 1)  # [B, T, N, C]
        orders = [y, torch.einsum("hi,btij->bthj", self.laplacian, y)]
        for _ in range(2, self.ks):
            orders.append(torch.einsum("hi,btij->bthj", 2 * self.laplacian, orders[-1]) - orders[-2])
        z = torch.einsum("btkhi,kij->bthj", torch.stack(orders[: self.ks], dim=2), self.weight) + self.bias
        return torch.relu(z.permute(0, 3, 1, 2) + x)


class Block(nn.Module):
    def __init__(self, channels: tuple[int, int, int], ks: int, kt: int, laplacian: Tensor) -> None:
        super().__init__()
        c_in, c_mid, c_out = channels
        self.temporal_in = TemporalConv(c_in, c_mid, kt, "glu")
        self.spatial = SpatialConv(c_mid, ks, laplacian)
        self.temporal_out = TemporalConv(c_mid, c_out, kt, "relu")
        self.norm = nn.LayerNorm([len(laplacian), c_out], eps=1e-6)


class Head(nn.Module):
    def __init__(self, c: int, ko: int, n_nodes: int) -> None:
        super().__init__()
        self.temporal_in = TemporalConv(c, c, ko, "glu")
        self.norm = nn.LayerNorm([n_nodes, c], eps=1e-6)
        self.temporal_out = TemporalConv(c, c, 1, "sigmoid")
        self.last = nn.Conv2d(c, 1, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(n_nodes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.temporal_out(normalise(self.norm, self.temporal_in(x)))
        return self.last(x)[:, 0] + self.bias


def normalise(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PlainSTGCN(nn.Module):
    """A copy of ``model``, written the plain way."""

    def __init__(self, model: STGCN) -> None:
        super().__init__()
        if not model.layout.published:
            raise ValueError("only published layouts have a plain form")
        self.n_his = model.n_his
        laplacian = model.graph_kernel[1]
        ko = model.n_his - 2 * len(model.channels) * (model.kt - 1)
        self.blocks = nn.ModuleList(Block(c, model.ks, model.kt, laplacian) for c in model.channels)
        self.head = Head(model.channels[-1][-1], ko, model.n_nodes)
        self.to(laplacian.dtype)
        with torch.no_grad():
            for mine, theirs in zip(self.blocks, model.blocks, strict=True):
                _take_conv(mine.temporal_in, theirs.temporal_in)
                mine.spatial.weight.copy_(theirs.spatial.weight.view_as(mine.spatial.weight))
                mine.spatial.bias.copy_(theirs.spatial.bias)
                _take_conv(mine.temporal_out, theirs.temporal_out)
                _take_norm(mine.norm, theirs.norm)
            _take_conv(self.head.temporal_in, model.head.temporal_in)
            _take_norm(self.head.norm, model.head.norm)
            _take_conv(self.head.temporal_out, model.head.temporal_out)
            self.head.last.weight.copy_(model.head.weight.view_as(self.head.last.weight))
            self.head.bias.copy_(model.head.bias)

    def features(self, x: Tensor) -> Features:
        """``[B, 1, n_his, N]`` -> prediction ``[B, N]`` and what distillation reads."""
        temporal, spatial = [], []
        for block in self.blocks:
            x = block.temporal_in(x)
            temporal.append(x.permute(0, 2, 3, 1))
            x = block.spatial(x)
            spatial.append(x.permute(0, 2, 3, 1))
            x = block.temporal_out(x)
            temporal.append(x.permute(0, 2, 3, 1))
            x = normalise(block.norm, x)
        return Features(self.head(x)[:, 0], temporal, spatial)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).prediction

    def roll_out(self, x: Tensor, steps: int, start: Tensor | None = None) -> tuple[Tensor, None]:
        """Every step from a whole window: ``[B, n_his, N] -> [B, steps, N]``."""
        return windowed_roll_out(lambda window: self(window.unsqueeze(1)), x, self.n_his, steps), None


def windowed_roll_out(predict, x: Tensor, n_his: int, steps: int) -> Tensor:
    """Feed each prediction back and shift the window by one."""
    for _ in range(steps):
        x = torch.cat((x, predict(x[:, -n_his:])[:, None]), dim=1)
    return x[:, n_his:]


def _take_conv(mine: TemporalConv, theirs: nn.Module) -> None:
    kt, width, c_in = mine.kt, mine.conv.out_channels, mine.conv.in_channels
    mine.conv.weight.copy_(theirs.weight.view(kt, c_in, width).permute(2, 1, 0)[..., None])
    mine.conv.bias.copy_(theirs.bias)
    if theirs.residual is not None:
        mine.align.conv.weight.copy_(theirs.residual.t()[..., None, None])


def _take_norm(mine: nn.LayerNorm, theirs: nn.Module) -> None:
    mine.weight.copy_(theirs.gamma)
    mine.bias.copy_(theirs.beta)
