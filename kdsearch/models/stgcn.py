"""The spatio-temporal graph convolutional network of Yu, Yin & Zhu (IJCAI 2018).

Inputs and features are ``[B, T, N, C]`` to the outside: batch, time, node, channel. Every convolution in time is valid
and every normalisation acts within one time step, so the network is time-equivariant: a longer input gives one output
per window, equal to what each window gives alone.

Inside, channels come first, ``[C, B, T, N]``: every layer is then one matrix product with as many columns as there are
numbers in a channel, which also keeps the vector units busy when a student has two channels (twice as fast as
channel-last there on a CPU, and no slower for the teacher), and the graph product needs no transposition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdsearch.models._layers import graph_taps, recorded, temporal
from kdsearch.models.layout import Affine, Channels, Layout, Residual, published_residual
from kdsearch.models.norm import NORMS

__all__ = ["BASE", "CHANNELS", "STGCN", "STUDENT", "TEACHER", "Channels", "Features", "Layout"]

# Table 1, "Hidden Blocks Channel".
TEACHER: Channels = ((1, 32, 64), (64, 32, 128))
BASE: Channels = ((1, 8, 16), (16, 8, 32))
STUDENT: Channels = ((1, 2, 4), (4, 2, 8))
CHANNELS: dict[str, Channels] = {"teacher": TEACHER, "base": BASE, "student": STUDENT}
# Time steps that a CPU takes at once of a long input, without gradients: hidden layers then fit into its cache.
_PIECE = 24


@dataclass
class Features:
    """What one forward pass leaves for a distillation loss.

    Attributes:
        prediction: z-scored one-step forecast, ``[B, N]`` for an input of ``n_his`` steps, else
            ``[B, T - n_his + 1, N]``.
        temporal: outputs of the blocks' temporal layers in order (GLU, ReLU, GLU, ReLU), before LayerNorm; each
            ``[B, T_l, N, C_l]`` with ``T_l`` = 10, 8, 6, 4 for ``n_his`` = 12.
        spatial: outputs of the blocks' spatial layers, each ``[B, T_l, N, C_l]`` with ``T_l`` = 10, 6.
        rollout: forecasts ``[B, steps, N]`` of a network fed with its own; None where only one step was asked for.
    """

    prediction: Tensor
    temporal: list[Tensor]
    spatial: list[Tensor]
    rollout: Tensor | None = None


class _Tails:
    """The last inputs of every temporal layer, so that one more time step costs one step and not a window.

    Layers call :meth:`extend` in the order of the forward pass; :meth:`rewind` starts the next pass.
    """

    def __init__(self) -> None:
        self._kept: list[Tensor] = []
        self._next = 0
        self._first_pass = True

    def extend(self, x: Tensor, keep: int) -> Tensor:
        """Put the kept steps before ``x [C, B, T, N]`` and keep the last ``keep`` of the whole."""
        if self._first_pass:
            self._kept.append(x[:, :, x.shape[2] - keep :])
            return x
        x = torch.cat((self._kept[self._next], x), dim=2)
        self._kept[self._next] = x[:, :, x.shape[2] - keep :]
        self._next += 1
        return x

    def rewind(self) -> None:
        self._first_pass, self._next = False, 0


def _glorot(fan_in: int, fan_out: int, *shape: int) -> nn.Parameter:
    """Glorot-uniform weights, as TensorFlow's ``get_variable`` draws them for the original code."""
    limit = math.sqrt(6.0 / (fan_in + fan_out))
    return nn.Parameter(torch.empty(shape).uniform_(-limit, limit))


def _mix(weight: Tensor, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map channels: ``weight [c_in, c_out]``, ``x [c_in, ...] -> [c_out, ...]``."""
    flat = x.reshape(x.shape[0], -1)
    y = weight.t() @ flat if bias is None else torch.addmm(bias[:, None], weight.t(), flat)
    return y.view(-1, *x.shape[1:])


class TemporalConv(nn.Module):
    """Valid convolution in time with a residual (Yu et al. 2018, section 3.3).

    ``glu``: ``(P + r) * sigmoid(Q)``; ``relu``: ``relu(conv + r)``; ``sigmoid``: ``sigmoid(conv)`` without residual.
    The residual ``r`` is the input's last ``T - kt + 1`` steps: mapped by a bias-free 1x1 convolution if it has more
    channels than the output, zero-padded if it has fewer. In a pruned network ``residual`` says which input channel
    is added to which output channel (:data:`kdsearch.models.layout.Residual`).
    """

    source: Tensor | None

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kt: int,
        activation: str,
        residual: Residual | Literal["published"] = "published",
    ) -> None:
        super().__init__()
        if activation not in ("glu", "relu", "sigmoid"):
            raise ValueError(f"unknown activation {activation!r}")
        self.c_in, self.c_out, self.kt, self.activation = c_in, c_out, kt, activation
        width = 2 * c_out if activation == "glu" else c_out
        # TensorFlow counts the receptive field in both fans of a convolution.
        self.weight = _glorot(kt * c_in, kt * width, kt * c_in, width)
        self.bias = nn.Parameter(torch.zeros(width))
        adds_to = published_residual(c_in, c_out) if residual == "published" else residual
        maps = activation != "sigmoid" and adds_to is None
        self.residual = _glorot(c_in, c_out, c_in, c_out) if maps else None
        # Which input each output channel takes, c_in standing for none; not needed where j takes j.
        source = None
        if adds_to is not None and (adds_to != tuple(range(c_in)) or c_in > c_out):
            takes = {j: i for i, j in enumerate(adds_to)}
            source = torch.tensor([takes.get(j, c_in) for j in range(c_out)])
        self.register_buffer("source", source, persistent=False)

    def forward(self, x: Tensor, tails: _Tails | None = None) -> Tensor:
        """``[c_in, B, T, N] -> [c_out, B, T - kt + 1, N]``."""
        if tails is not None and self.kt > 1:
            x = tails.extend(x, self.kt - 1)
        if not recorded():
            return temporal(x, self.weight, self.bias, self.residual, self.source, self.kt, self.activation)
        steps = x.shape[2] - self.kt + 1
        taps = x if self.kt == 1 else torch.cat([x[:, :, k : k + steps] for k in range(self.kt)])
        y = _mix(self.weight, taps, self.bias)
        if self.activation == "sigmoid":
            return torch.sigmoid(y)
        r = x[:, :, self.kt - 1 :]
        if self.residual is not None:
            r = _mix(self.residual, r)
        elif self.source is not None:
            r = F.pad(r, (0, 0, 0, 0, 0, 0, 0, 1)).index_select(0, self.source)
        elif self.c_in < self.c_out:
            r = F.pad(r, (0, 0, 0, 0, 0, 0, 0, self.c_out - self.c_in))
        if self.activation == "relu":
            return torch.relu(y + r)
        p, q = y.split(self.c_out)
        return (p + r) * torch.sigmoid(q)


class SpatialConv(nn.Module):
    """Chebyshev graph convolution with identity residual (Yu et al. 2018, section 3.2): ``relu(conv + x)``."""

    def __init__(self, channels: int, ks: int) -> None:
        super().__init__()
        self.weight = _glorot(ks * channels, channels, ks * channels, channels)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        """``x [C, B, T, N]``, ``kernel [ks, N, N]`` whose first slice is the identity -> ``[C, B, T, N]``."""
        return torch.relu(_mix(self.weight, graph_taps(x, kernel), self.bias) + x)


class _Block(nn.Module):
    """``T-GLU -> S-ReLU -> T-ReLU -> LayerNorm``."""

    def __init__(
        self,
        n_nodes: int,
        channels: Sequence[int],
        ks: int,
        kt: int,
        residuals: Sequence[Residual],
        affine: Affine,
    ) -> None:
        super().__init__()
        c_in, c_mid, c_out = channels
        self.temporal_in = TemporalConv(c_in, c_mid, kt, "glu", residuals[0])
        self.spatial = SpatialConv(c_mid, ks)
        self.temporal_out = TemporalConv(c_mid, c_out, kt, "relu", residuals[1])
        self.norm = NORMS[affine](n_nodes, c_out)


class _Head(nn.Module):
    """``T-GLU (kernel ko) -> LayerNorm -> T-sigmoid (kernel 1) -> 1x1 map to one channel + bias per node``."""

    def __init__(
        self, n_nodes: int, c_in: int, channels: tuple[int, int], ko: int, residual: Residual, affine: Affine
    ) -> None:
        super().__init__()
        c_glu, c_sigmoid = channels
        self.temporal_in = TemporalConv(c_in, c_glu, ko, "glu", residual)
        self.norm = NORMS[affine](n_nodes, c_glu)
        self.temporal_out = TemporalConv(c_glu, c_sigmoid, 1, "sigmoid")
        self.weight = _glorot(c_sigmoid, 1, c_sigmoid, 1)
        self.bias = nn.Parameter(torch.zeros(n_nodes))

    def forward(self, x: Tensor, tails: _Tails | None) -> Tensor:
        """``[C, B, T, N] -> [B, T - ko + 1, N]``."""
        x = self.temporal_out(self.norm(self.temporal_in(x, tails)))
        return _mix(self.weight, x)[0] + self.bias


class STGCN(nn.Module):
    """STGCN exactly as published: two blocks and an output head (SPEC section 1; Table 1 gives the parameter counts).

    Args:
        n_nodes: number of sensors N.
        channels: per block ``(c_in, c_mid, c_out)``, as "Hidden Blocks Channel" of Table 1; or the whole layout, which
            a pruned network needs.
        graph_kernel: Chebyshev basis ``[ks, N, N]`` of the scaled Laplacian; its first slice is the identity.
        n_his: time steps of one window.
        ks, kt: orders of the spatial and width of the temporal kernels.
        usual_day: z-scored ``[S, N]``, the speeds usual at each of the ``S`` steps of a day; needed by a layout with a
            calendar.
    """

    graph_kernel: Tensor
    usual: Tensor | None

    def __init__(
        self,
        n_nodes: int,
        channels: Sequence[Sequence[int]] | Layout,
        graph_kernel: Tensor,
        n_his: int = 12,
        ks: int = 3,
        kt: int = 3,
        usual_day: Tensor | None = None,
    ) -> None:
        super().__init__()
        if tuple(graph_kernel.shape) != (ks, n_nodes, n_nodes):
            raise ValueError(f"graph_kernel must be [{ks}, {n_nodes}, {n_nodes}], got {list(graph_kernel.shape)}")
        self.layout = channels if isinstance(channels, Layout) else Layout.of(channels)
        self.channels: Channels = self.layout.blocks
        ko = n_his - len(self.channels) * 2 * (kt - 1)
        if ko < 1:
            raise ValueError(f"n_his={n_his} is too short for {len(self.channels)} blocks of kernel width {kt}")
        self.n_nodes, self.n_his, self.ks, self.kt = n_nodes, n_his, ks, kt
        # Not part of the weights: the dataset gives it back.
        self.register_buffer("graph_kernel", graph_kernel.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("usual", self._usual(usual_day), persistent=False)
        *residuals, last = self.layout.residuals
        self.blocks = nn.ModuleList(
            _Block(n_nodes, c, ks, kt, residuals[2 * i : 2 * i + 2], self.layout.affine)
            for i, c in enumerate(self.channels)
        )
        self.head = _Head(n_nodes, self.channels[-1][-1], self.layout.head, ko, last, self.layout.affine)

    def _usual(self, day: Tensor | None) -> Tensor | None:
        """What the calendar tells at every step of a day: ``[K, S, N]`` for its ``K`` steps ahead, None without one."""
        if not self.layout.calendar:
            return None
        if day is None or day.ndim != 2 or day.shape[1] != self.n_nodes:
            raise ValueError(
                f"a calendar needs the usual day [S, {self.n_nodes}], got {None if day is None else day.shape}"
            )
        ahead = torch.stack([day.roll(-steps, dims=0) for steps in self.layout.calendar])
        return (ahead - day).to(torch.get_default_dtype())

    def like(self, layout: Layout) -> STGCN:
        """A fresh network on the same graph with another layout; the caller's random state is left alone.

        It has this one's calendar.
        """
        kernel, usual = self.graph_kernel, self.usual
        # The buffer is taken over below: what stands here only has its shape.
        day = None if usual is None else torch.zeros(usual.shape[1:])
        with torch.random.fork_rng(devices=[]):
            other = STGCN(self.n_nodes, layout, kernel.cpu(), self.n_his, self.ks, self.kt, day)
        other.to(kernel.device, kernel.dtype).train(self.training)
        other.graph_kernel, other.usual = kernel, usual
        return other

    def _told(self, x: Tensor, start: Tensor | None) -> Tensor:
        """Readings ``x [B, T, N, 1]`` as channels first, with what the calendar tells at their times."""
        seen = x.permute(3, 0, 1, 2)
        if self.usual is None:
            return seen
        if start is None:
            raise ValueError("a network with a calendar must be told at which step of the day its input starts")
        step = (start.to(x.device)[:, None] + torch.arange(x.shape[1], device=x.device)) % self.usual.shape[1]
        return torch.cat((seen, self.usual[:, step]))

    def _pass(self, x: Tensor, start: Tensor | None, tails: _Tails | None = None) -> Features:
        """One pass over ``x [B, T, N, 1]`` from step ``start [B]`` of a day on; the prediction keeps its time axis."""
        temporal, spatial = [], []
        readings, x = x, self._told(x, start)
        for block in self.blocks:
            assert isinstance(block, _Block)
            x = block.temporal_in(x, tails)
            temporal.append(x.permute(1, 2, 3, 0))
            x = block.spatial(x, self.graph_kernel)
            spatial.append(x.permute(1, 2, 3, 0))
            x = block.temporal_out(x, tails)
            temporal.append(x.permute(1, 2, 3, 0))
            x = block.norm(x)
        prediction = self.head(x, tails)
        if self.layout.persistence:
            prediction = prediction + readings[:, -prediction.shape[1] :, :, 0]
        return Features(prediction, temporal, spatial)

    def _pass_in_pieces(self, x: Tensor, start: Tensor | None) -> Features:
        """:meth:`_pass` over a long input, some time steps after the other: what is between the layers stays small."""
        tails = _Tails()
        found = []
        for piece in (x[:, : self.n_his], *x[:, self.n_his :].split(_PIECE, dim=1)):
            found.append(self._pass(piece, start, tails))
            start = None if start is None else start + piece.shape[1]
            tails.rewind()

        def joined(layers: list[list[Tensor]]) -> list[Tensor]:
            # Channels first, as they lie in memory: joining [B, T, N, C] would turn them round.
            return [
                torch.cat([f.permute(3, 0, 1, 2) for f in parts], dim=2).permute(1, 2, 3, 0)
                for parts in zip(*layers, strict=True)
            ]

        prediction = torch.cat([f.prediction for f in found], dim=1)
        return Features(prediction, joined([f.temporal for f in found]), joined([f.spatial for f in found]))

    def features(self, x: Tensor, start: Tensor | None = None) -> Features:
        """Prediction and hidden features of ``x [B, T, N, 1]``, ``T >= n_his`` (shapes: :class:`Features`).

        ``start [B]``, the step of the day of each first reading, is needed with a calendar, else not looked at.
        """
        if x.shape[1] < self.n_his:
            raise ValueError(f"input has {x.shape[1]} time steps, the network needs at least {self.n_his}")
        pieces = x.shape[1] >= self.n_his + 2 * _PIECE and x.device.type == "cpu" and not torch.is_grad_enabled()
        out = self._pass_in_pieces(x, start) if pieces else self._pass(x, start)
        if x.shape[1] == self.n_his:
            out.prediction = out.prediction[:, 0]
        return out

    def forward(self, x: Tensor, start: Tensor | None = None) -> Tensor:
        """``[B, n_his, N, 1] -> [B, N]``; a longer input gives ``[B, T - n_his + 1, N]``, one output a window."""
        return self.features(x, start).prediction

    def roll_out(self, x: Tensor, steps: int, start: Tensor | None = None) -> tuple[Tensor, Features]:
        """Forecast several steps by feeding each prediction back (section 4, Figure 2 of the paper).

        Args:
            x: z-scored windows ``[B, n_his, N]``.
            steps: how many steps to forecast.
            start: see :meth:`features`.

        Returns:
            Forecasts ``[B, steps, N]`` and the features of the first step. What earlier steps computed is kept, so a
            further step costs one time step of each layer, not a window; the result is the windowed one.
        """
        tails = _Tails()
        first = self._pass(x.unsqueeze(-1), start, tails)
        forecasts = [first.prediction[:, -1]]
        while len(forecasts) < steps:
            tails.rewind()
            now = None if start is None else start + (x.shape[1] + len(forecasts) - 1)
            forecasts.append(self._pass(forecasts[-1][:, None, :, None], now, tails).prediction[:, -1])
        first.prediction = forecasts[0]
        return torch.stack(forecasts, dim=1), first

    def n_parameters(self) -> int:
        """All trainable parameters, as Tables 1, 7 and 8 count them."""
        return sum(p.numel() for p in self.parameters())
