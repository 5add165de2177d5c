"""RMSprop as TensorFlow 1 has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["TFRMSprop"]


class TFRMSprop(torch.optim.Optimizer):
    """RMSprop with TensorFlow 1's semantics, which the original STGCN was trained with (SPEC section 3).

    Differs from :class:`torch.optim.RMSprop` in two ways that change the first hundreds of updates: the accumulator
    starts at one, and epsilon stands inside the root::

        s <- decay * s + (1 - decay) * g^2          s_0 = 1
        w <- w - lr * g / sqrt(s + eps)

    Momentum is zero. Because s starts at one, the scale of the loss matters early on.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3, decay: float = 0.9, eps: float = 1e-10) -> None:
        super().__init__(params, {"lr": lr, "decay": decay, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient, in fused multi-tensor operations."""
        if closure is not None:
            raise ValueError("TFRMSprop takes no closure")
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            for p in params:
                if not self.state[p]:
                    self.state[p]["mean_square"] = torch.ones_like(p)
            grads = [p.grad for p in params]
            squares = [self.state[p]["mean_square"] for p in params]
            torch._foreach_mul_(squares, group["decay"])
            torch._foreach_addcmul_(squares, grads, grads, 1.0 - group["decay"])
            roots = torch._foreach_add(squares, group["eps"])
            torch._foreach_sqrt_(roots)
            torch._foreach_addcdiv_(params, grads, roots, -group["lr"])
