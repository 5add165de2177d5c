"""The attention based spatial-temporal graph convolutional network of Guo et al. (AAAI 2019), a row of Table 4.

Only the recent branch is built, on the speed channel: the daily and weekly ones read what the other rows do not see.
Its spatial-temporal blocks are as published (both attentions, Chebyshev graph convolution weighted by the spatial one,
convolution in time, residual, LayerNorm) and it forecasts all steps at once. Inside, ``[B, N, C, T]``: batch, node,
channel, time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdsearch.models.stgcn import Features

__all__ = ["ASTGCN", "SpatialAttention", "TemporalAttention", "attended_chebyshev"]


def _uniform(*shape: int) -> nn.Parameter:
    """Weights of an attention as the authors' code draws them: Glorot-uniform, and vectors uniform in [0, 1)."""
    tensor = torch.empty(shape)
    return nn.Parameter(nn.init.xavier_uniform_(tensor) if len(shape) > 1 else nn.init.uniform_(tensor))


class TemporalAttention(nn.Module):
    """How much each time step attends to each other (Guo et al. 2019, Eqs. 4 and 5).

    ``E = V_e sigmoid(((X U_1) U_2) (U_3 X) + b_e)``, then a softmax. Eq. 5 normalises over the second index; the
    authors' code over the first, so that the steps mixed into one sum to one. The code is followed.
    """

    def __init__(self, n_nodes: int, channels: int, steps: int) -> None:
        super().__init__()
        self.u1, self.u2, self.u3 = _uniform(n_nodes), _uniform(channels, n_nodes), _uniform(channels)
        self.ve, self.be = _uniform(steps, steps), _uniform(1, steps, steps)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, N, C, T] -> [B, T, T]``; columns sum to 1."""
        left = torch.einsum("bnct,n->btc", x, self.u1) @ self.u2  # [B, T, N]
        right = torch.einsum("c,bnct->bnt", self.u3, x)
        return torch.softmax(self.ve @ torch.sigmoid(left @ right + self.be), dim=1)


class SpatialAttention(nn.Module):
    """How much each sensor attends to each other (Guo et al. 2019, Eqs. 1 and 2).

    ``S = V_s sigmoid(((X W_1) W_2) (W_3 X)^T + b_s)``, then a softmax over the first index, as in the authors' code.
    """

    def __init__(self, n_nodes: int, channels: int, steps: int) -> None:
        super().__init__()
        self.w1, self.w2, self.w3 = _uniform(steps), _uniform(channels, steps), _uniform(channels)
        self.vs, self.bs = _uniform(n_nodes, n_nodes), _uniform(1, n_nodes, n_nodes)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, N, C, T] -> [B, N, N]``; columns sum to 1."""
        left = (x @ self.w1) @ self.w2  # [B, N, T]
        right = torch.einsum("c,bnct->btn", self.w3, x)
        return torch.softmax(self.vs @ torch.sigmoid(left @ right + self.bs), dim=1)


def attended_chebyshev(x: Tensor, kernel: Tensor, attention: Tensor, weight: Tensor) -> Tensor:
    """Chebyshev graph convolution with attention: ``sum_k (T_k * S')^T x Theta_k`` (Guo et al. 2019, Eq. 7).

    Args:
        x: ``[B, N, C, T]``.
        kernel: Chebyshev basis ``[K, N, N]``.
        attention: ``S'``, ``[B, N, N]``.
        weight: ``Theta``, ``[K, C, F]``.

    Returns:
        ``[B, N, F, T]``, before the activation.
    """
    b, n, _, t = x.shape
    flat = x.permute(0, 1, 3, 2).reshape(b, n, -1)  # [B, N, T * C]
    out = x.new_zeros(b, n, t, weight.shape[2])
    for k in range(kernel.shape[0]):
        mixed = (kernel[k] * attention).transpose(1, 2) @ flat
        out = out + mixed.view(b, n, t, -1) @ weight[k]
    return out.permute(0, 1, 3, 2)


class _Block(nn.Module):
    """Attention in time, attention in space, graph convolution, convolution in time, residual, LayerNorm."""

    def __init__(self, n_nodes: int, c_in: int, filters: int, steps: int, ks: int) -> None:
        super().__init__()
        self.temporal_attention = TemporalAttention(n_nodes, c_in, steps)
        self.spatial_attention = SpatialAttention(n_nodes, c_in, steps)
        theta = [nn.init.xavier_uniform_(torch.empty(c_in, filters)) for _ in range(ks)]
        self.weight = nn.Parameter(torch.stack(theta))
        self.time = nn.Conv2d(filters, filters, (1, 3), padding=(0, 1))
        self.residual = nn.Conv2d(c_in, filters, (1, 1))
        self.norm = nn.LayerNorm(filters)

    def forward(self, x: Tensor, kernel: Tensor) -> Tensor:
        """``[B, N, C, T] -> [B, N, F, T]``."""
        b, n, c, t = x.shape
        attended = (x.reshape(b, n * c, t) @ self.temporal_attention(x)).view(b, n, c, t)
        spatial = torch.relu(attended_chebyshev(x, kernel, self.spatial_attention(attended), self.weight))
        mixed = self.time(spatial.permute(0, 2, 1, 3)) + self.residual(x.permute(0, 2, 1, 3))  # [B, F, N, T]
        return self.norm(torch.relu(mixed).permute(0, 2, 3, 1)).permute(0, 1, 3, 2)


class ASTGCN(nn.Module):
    """The recent branch of ASTGCN: two blocks of 64 filters, then one convolution over time and channels.

    It is trained by :class:`kdsearch.training.fit.Trainer` through all its steps (``rollout_steps=n_pred``); its
    "roll-out" is one pass, as no forecast is fed back.

    Args:
        n_nodes: number of sensors N.
        graph_kernel: Chebyshev basis ``[K, N, N]`` of the scaled Laplacian.
        n_his: time steps it sees.
        n_pred: time steps it forecasts.
        filters: of every convolution, 64 as published.
        blocks: 2 as published.
    """

    graph_kernel: Tensor

    def __init__(
        self, n_nodes: int, graph_kernel: Tensor, n_his: int = 12, n_pred: int = 9, filters: int = 64, blocks: int = 2
    ) -> None:
        super().__init__()
        ks = graph_kernel.shape[0]
        if tuple(graph_kernel.shape) != (ks, n_nodes, n_nodes):
            raise ValueError(f"graph_kernel must be [K, {n_nodes}, {n_nodes}], got {list(graph_kernel.shape)}")
        self.n_nodes, self.n_his, self.n_pred = n_nodes, n_his, n_pred
        self.register_buffer("graph_kernel", graph_kernel.to(torch.get_default_dtype()), persistent=False)
        self.blocks = nn.ModuleList(
            _Block(n_nodes, 1 if i == 0 else filters, filters, n_his, ks) for i in range(blocks)
        )
        self.final = nn.Conv2d(n_his, n_pred, (1, filters))

    def forward(self, x: Tensor) -> Tensor:
        """All steps at once: ``[B, n_his, N, 1] -> [B, n_pred, N]``, z-scored."""
        x = x.permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x, self.graph_kernel)
        return self.final(x.permute(0, 3, 1, 2))[..., 0]

    def features(self, x: Tensor, start: Tensor | None = None) -> Features:
        """The first step's forecast ``[B, N]``, whatever the time of day.

        It has no features that an STGCN's could be compared with.
        """
        return Features(self(x)[:, 0], [], [])

    def roll_out(self, x: Tensor, steps: int, start: Tensor | None = None) -> tuple[Tensor, Features]:
        """Forecasts ``[B, steps, N]`` of windows ``[B, n_his, N]``, whatever the time of day.

        Raises:
            ValueError: more steps than it was built for.
        """
        if steps > self.n_pred:
            raise ValueError(f"the network forecasts {self.n_pred} steps, {steps} were asked for")
        forecasts = self(x.unsqueeze(-1))[:, :steps]
        return forecasts, Features(forecasts[:, 0], [], [])

    def n_parameters(self) -> int:
        """All trainable parameters."""
        return sum(p.numel() for p in self.parameters())
