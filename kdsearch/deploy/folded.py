"""A trained STGCN in the form that is exported: the same function in a third of the operations.

Every residual is linear in what its convolution reads, so it is added to the convolution's kernel; a layer is then one
convolution and its activation. Nothing of it is trained any more, so nothing needs to be told apart.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdsearch.models.norm import LayerNorm
from kdsearch.models.stgcn import STGCN, SpatialConv, TemporalConv

__all__ = ["Folded"]


class Folded(nn.Module):
    """The forecasts of an STGCN, from plain convolutions on ``[B, C, T, N]``.

    Args:
        model: trained; it is left as it is.
        steps: how many steps :meth:`forward` forecasts.
    """

    def __init__(self, model: STGCN, steps: int) -> None:
        super().__init__()
        self.steps, self.persistence = steps, model.layout.persistence
        kernel = model.graph_kernel
        layers: list[nn.Module] = []
        for block in model.blocks:
            layers += [_Temporal(cast(TemporalConv, block.temporal_in)), _Spatial(cast(SpatialConv, block.spatial))]
            layers += [_Temporal(cast(TemporalConv, block.temporal_out)), _Norm(cast(LayerNorm, block.norm))]
        head = model.head
        layers += [_Temporal(head.temporal_in), _Norm(head.norm), _Temporal(head.temporal_out)]
        self.layers = nn.ModuleList(layers)
        self.n_orders = len(kernel) - 1
        self.register_buffer("orders", kernel[1:].detach().transpose(1, 2).contiguous())
        self.register_buffer("last", head.weight.detach().t()[:, :, None, None].clone())
        self.register_buffer("bias", head.bias.detach().clone())
        self.register_buffer("usual", model.usual)

    def forward(self, x: Tensor, start: Tensor | None = None) -> Tensor:
        """Z-scored windows ``[B, n_his, N]`` to z-scored forecasts ``[B, steps, N]``, as :meth:`STGCN.roll_out`."""
        kept: list[Tensor] = []
        forecasts = []
        x = x[:, None]
        for step in range(self.steps):
            told = x
            if self.usual is not None and start is not None:
                told = torch.cat((x, self._calendar(start, x.shape[2])), dim=1)
                start = start + x.shape[2]
            x = self._once(told, kept, first=step == 0)
            forecasts.append(x)
        return torch.cat(forecasts, dim=2)[:, 0]

    def _calendar(self, start: Tensor, length: int) -> Tensor:
        """What the calendar tells at ``length`` steps from ``start [B]`` on, ``[B, K, length, N]``."""
        usual = cast(Tensor, self.usual)
        step = (start[:, None] + torch.arange(length, device=start.device)) % usual.shape[1]
        return usual[:, step].transpose(0, 1)

    def _once(self, x: Tensor, kept: list[Tensor], first: bool) -> Tensor:
        """``[B, C, T, N]`` to the forecast ``[B, 1, 1, N]``; ``kept`` holds the last inputs of every temporal layer."""
        place, last = 0, x[:, :1, -1:]
        for layer in self.layers:
            if isinstance(layer, _Temporal):
                if layer.kt > 1:
                    if first:
                        kept.append(x)
                    else:
                        kept[place] = x = torch.cat((kept[place][:, :, -(layer.kt - 1) :], x), dim=2)
                    place += 1
                x = layer(x)
            elif isinstance(layer, _Spatial):
                x = layer(x, [cast(Tensor, self.orders)[k] for k in range(self.n_orders)])
            else:
                x = layer(x)
        forecast = F.conv2d(x, cast(Tensor, self.last)) + cast(Tensor, self.bias)
        return forecast + last if self.persistence else forecast


class _Temporal(nn.Module):
    def __init__(self, layer: TemporalConv) -> None:
        super().__init__()
        self.kt, self.activation = layer.kt, layer.activation
        weight = layer.weight.detach().view(layer.kt, layer.c_in, -1).permute(2, 1, 0).clone()
        if layer.activation != "sigmoid":
            weight[: layer.c_out, :, -1] += _residual(layer).t()
        self.register_buffer("weight", weight[..., None].contiguous())
        self.register_buffer("bias", layer.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(x, cast(Tensor, self.weight), cast(Tensor, self.bias))
        if self.activation == "glu":
            p, q = y.chunk(2, dim=1)
            return p * torch.sigmoid(q)
        return torch.relu(y) if self.activation == "relu" else torch.sigmoid(y)


def _residual(layer: TemporalConv) -> Tensor:
    """What the residual adds as a matrix ``[c_in, c_out]``."""
    if layer.residual is not None:
        return layer.residual.detach()
    matrix = layer.weight.detach().new_zeros(layer.c_in + 1, layer.c_out)
    source = layer.source if layer.source is not None else torch.arange(layer.c_out).clamp(max=layer.c_in)
    matrix[source.to(matrix.device), torch.arange(layer.c_out)] = 1.0
    return matrix[: layer.c_in]  # the row after the last input stands for none


class _Spatial(nn.Module):
    def __init__(self, layer: SpatialConv) -> None:
        super().__init__()
        weight = layer.weight.detach().t().clone()
        weight[:, : len(weight)] += torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
        self.register_buffer("weight", weight[:, :, None, None].contiguous())
        self.register_buffer("bias", layer.bias.detach().clone())

    def forward(self, x: Tensor, orders: list[Tensor]) -> Tensor:
        taps = torch.cat([x, *(x @ order for order in orders)], dim=1)
        return torch.relu(F.conv2d(taps, cast(Tensor, self.weight), cast(Tensor, self.bias)))


class _Norm(nn.Module):
    def __init__(self, layer: LayerNorm) -> None:
        super().__init__()
        gamma, beta = layer.affine()
        self.register_buffer("gamma", gamma.detach().t().contiguous().clone())
        self.register_buffer("beta", beta.detach().t().contiguous().clone())

    def forward(self, x: Tensor) -> Tensor:
        x = x - _mean(x)
        y = x * torch.rsqrt(_mean(x * x) + 1e-6)
        return y * cast(Tensor, self.gamma)[:, None] + cast(Tensor, self.beta)[:, None]


def _mean(x: Tensor) -> Tensor:
    """Over sensors and channels of ``[B, C, T, N]``, kept as axes of length 1.

    One axis after the other: ONNX Runtime's LayerNormalization adds all numbers up in a row, and for the 14,592 of the
    teacher on 228 sensors that cost it 20 times PyTorch's rounding.
    """
    return x.mean(dim=3, keepdim=True).mean(dim=1, keepdim=True)
