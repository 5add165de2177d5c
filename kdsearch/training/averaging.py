"""An exponential moving average of a network's weights along its training."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """A second network that follows a trained one at a distance (Polyak & Juditsky 1992).

    Single updates at a high rate throw a network about its course; their mean is steadier and better, long before the
    rate has fallen.

    Args:
        decay: share of the old average that an update leaves; ``1 / (1 - decay)`` is about how many updates count.
        model: the network to follow, whose weights are the first to count.
    """

    def __init__(self, decay: float, model: nn.Module) -> None:
        self.decay, self.updates = decay, 0
        self.model = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Count the weights after one more update. The first ones count more, so that no initial value stays long."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1.0 - decay)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values to carry on from."""
        return {"updates": self.updates, "weights": self.model.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Carry on."""
        self.updates = state["updates"]
        self.model.load_state_dict(state["weights"])
