"""What benchmarks measure: simulated sensors, untrained networks, and one update as the training loop makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdsearch.data import Dataset, Split, Windows, graph
from kdsearch.data.simulate import simulate
from kdsearch.distillation import losses
from kdsearch.models.stgcn import STUDENT
from kdsearch.training.network import new_network
from kdsearch.training.rmsprop import TFRMSprop

__all__ = ["Update", "sensors"]


def sensors(n: int, days: int, seed: int = 0) -> Dataset:
    """A simulated freeway net with ``days`` training days; a day is repeated where the simulation would be long."""
    made = simulate(n, min(days, 4) + 2, seed)
    train = made.speeds[np.arange(days) % min(days, 4)]
    return Dataset(
        name=f"simulated-{n}",
        speeds=np.concatenate([train, made.speeds[-2:]]),
        weights=graph.gaussian_kernel(made.distances),
        split=Split(days, 1, 1),
        space="default",
    )


class Update:
    """One update of the published student, step for step that of ``training.fit.Trainer``.

    Args:
        dataset: its training days are drawn from.
        loss: name in the registry; hyperparameters are the defaults.
        told: a bank's reader or the live teacher; None for a loss without a teacher.
        batch: windows an update.
        device: where everything lives.
    """

    def __init__(
        self,
        dataset: Dataset,
        loss: str,
        told: Callable[[Tensor, Tensor, Tensor], Any] | None,
        batch: int = 50,
        device: str | torch.device = "cpu",
    ) -> None:
        self.windows = Windows(dataset, "train", device)
        self.model = new_network(dataset, STUDENT, seed=1).to(device).train()
        values = {h.name: h.default for h in losses.hyperparameters(loss)}
        self.loss = losses.build(loss, scale=losses.Scale(dataset.mean, dataset.std), **values)
        self.told, self.batch = told, batch
        self.features = self.model.features  # a compiled one may stand here
        self.params = list(self.model.parameters())
        self.optimizer = TFRMSprop(self.params, lr=1e-3)
        self._order = torch.Generator().manual_seed(0)
        self.index = torch.zeros(batch, dtype=torch.long, device=device)  # the place a captured graph reads from

    def draw(self) -> None:
        """Choose the next minibatch."""
        self.index.copy_(torch.randint(len(self.windows), (self.batch,), generator=self._order))

    def compute(self) -> Tensor:
        """Update on the chosen minibatch; nothing here waits for the device."""
        day, start = self.windows.locate(self.index)
        x = self.windows.inputs(day, start)
        target, _ = self.windows.targets(day, start)
        told = None if self.told is None else self.told(day, start, x)
        terms = self.loss(self.features(x.unsqueeze(-1)), told, target[:, 0])
        self.optimizer.zero_grad(set_to_none=True)
        self.loss.backward(terms, self.params, scale=x.shape[0] * x.shape[2] / 2)
        self.optimizer.step()
        return terms.total.detach()

    def __call__(self) -> Tensor:
        """Draw and compute."""
        self.draw()
        return self.compute()
