"""The definition of the pruned function, as masks inside the full network: slow, and independent of the package.

A pruned channel's units are zero *after* their activation, and LayerNorm's mean and variance run over the kept channels
alone. Everything else is STGCN as published, written here a second time from SPEC section 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Masks = Mapping[str, Tensor]


def _conv(w: Mapping[str, Tensor], path: str, x: Tensor, kt: int) -> tuple[Tensor, Tensor]:
    """``x [B, T, N, C]`` -> the convolution's output and the input's last steps."""
    steps = x.shape[1] - kt + 1
    kernel = w[f"{path}.weight"].view(kt, x.shape[-1], -1)
    y = sum(x[:, k : k + steps] @ kernel[k] for k in range(kt)) + w[f"{path}.bias"]
    return y, x[:, kt - 1 :]


def _residual(w: Mapping[str, Tensor], path: str, r: Tensor, c_out: int) -> Tensor:
    if f"{path}.residual" in w:
        return r @ w[f"{path}.residual"]
    out = torch.zeros(*r.shape[:-1], c_out, dtype=r.dtype)
    out[..., : r.shape[-1]] = r
    return out


def _glu(w: Mapping[str, Tensor], path: str, x: Tensor, kt: int, mask: Tensor) -> Tensor:
    y, r = _conv(w, path, x, kt)
    p, q = y.chunk(2, dim=-1)
    return (p + _residual(w, path, r, p.shape[-1])) * torch.sigmoid(q) * mask


def _norm(w: Mapping[str, Tensor], path: str, x: Tensor, mask: Tensor) -> Tensor:
    count = mask.sum() * x.shape[2]
    mean = (x * mask).sum(dim=(2, 3), keepdim=True) / count
    variance = ((x - mean).square() * mask).sum(dim=(2, 3), keepdim=True) / count
    y = (x - mean) / torch.sqrt(variance + 1e-6) * w[f"{path}.gamma"] + w[f"{path}.beta"]
    return y * mask


def masked_forward(w: Mapping[str, Tensor], kernel: Tensor, x: Tensor, masks: Masks, n_blocks: int = 2) -> Tensor:
    """Forecasts ``[B, N]`` of ``x [B, 12, N, 1]``; ``masks`` has a 0/1 vector for each layer of channels."""
    for b in range(n_blocks):
        path, mid, out = f"blocks.{b}", masks[f"block{b + 1}.mid"], masks[f"block{b + 1}.out"]
        x = _glu(w, f"{path}.temporal_in", x, 3, mid)
        weight = w[f"{path}.spatial.weight"].view(len(kernel), x.shape[-1], -1)
        graph = sum(torch.einsum("nm,btmc->btnc", kernel[k], x) @ weight[k] for k in range(len(kernel)))
        x = torch.relu(graph + w[f"{path}.spatial.bias"] + x) * mid
        y, r = _conv(w, f"{path}.temporal_out", x, 3)
        x = torch.relu(y + _residual(w, f"{path}.temporal_out", r, y.shape[-1])) * out
        x = _norm(w, f"{path}.norm", x, out)
    glu, sigmoid = masks["head.glu"], masks["head.sigmoid"]
    x = _glu(w, "head.temporal_in", x, 12 - 4 * n_blocks, glu)
    x = _norm(w, "head.norm", x, glu)
    x = torch.sigmoid(x @ w["head.temporal_out.weight"] + w["head.temporal_out.bias"]) * sigmoid
    return (x @ w["head.weight"])[:, 0, :, 0] + w["head.bias"]
