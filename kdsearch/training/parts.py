"""What the training loop is put together from: the loss it asks, the minibatch it makes, what prunes as it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from kdsearch.models.stgcn import Features
from kdsearch.training.report import Histograms

if TYPE_CHECKING:
    from kdsearch.training.fit import Trainer

__all__ = ["LossFunction", "Minibatch", "Pruning", "Teacher"]


class LossFunction(Protocol):
    """What the loop asks of a loss; :mod:`kdsearch.distillation.losses` provides them."""

    def __call__(self, student: Features, teacher: Any, target: Tensor, valid: Tensor | None = None) -> Any:
        """Terms with a scalar ``total`` and detached ``parts`` by name."""

    def response(
        self, prediction: Tensor, teacher: Tensor | None, target: Tensor, valid: Tensor | None, by_step: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The terms on forecasts alone, and their parts; with ``by_step`` of ``[B, steps, N]`` of a roll-out."""

    def prepare(self, student: Features, teacher: Any) -> None:
        """Make the loss's own weights, if any, from the shapes of an example."""

    def backward(self, terms: Any, parameters: Any, scale: float) -> None:
        """Add the gradient of ``scale * terms.total``."""

    def parameters(self) -> Any:
        """The loss's own weights."""

    def to(self, device: torch.device) -> Any:
        """Move the loss's own weights."""


# Windows' (day [B], start [B]) and inputs [B, n_his, N] -> what the loss reads of the teacher.
Teacher = Callable[[Tensor, Tensor, Tensor], Any]


@dataclass
class Minibatch:
    """One minibatch on the device.

    ``x [B, n_his + run - 1, N]`` from steps ``start [B]`` of the day on; ``target`` and ``valid`` ``[B, N]``,
    ``[B, run, N]`` or ``[B, steps, N]``.
    """

    x: Tensor
    start: Tensor
    target: Tensor
    valid: Tensor | None
    teacher: Any


class Pruning(Protocol):
    """What takes weights away while the loop trains; :class:`kdsearch.pruning.Pruner` does."""

    @property
    def settled(self) -> bool:
        """Whether the network has its final shape. Only then can an epoch be the best one."""

    def start(self, trainer: Trainer) -> None:
        """Look at the trainer before the first update, and refuse what cannot work."""

    def after_backward(self, trainer: Trainer, batch: Minibatch) -> None:
        """The gradients of a minibatch stand in ``.grad``; the update follows."""

    def after_step(self, trainer: Trainer) -> None:
        """The update is done. This is where the network may be replaced."""

    def figures(self) -> dict[str, float]:
        """How far it has come, by names that begin with "pruning/"."""

    def histograms(self, after: int) -> Histograms:
        """Of the stages done after so many minibatches (:attr:`EpochReport.histograms`)."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values to carry on from."""

    def load_state_dict(self, state: Mapping[str, Any] | None, trainer: Trainer) -> None:
        """Carry on; the trainer has its network again, its loss may be changed."""
