"""How a network is trained: one frozen description for teacher, student and fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FitSettings"]


@dataclass(frozen=True)
class FitSettings:
    """The protocol of section 4 of the paper; a search changes what its space names.

    Attributes:
        epochs: training length. One epoch is about as many updates as one pass over the full PeMSD7 training set:
            on smaller data it takes several passes (``Dataset.passes_per_epoch``), so that learning-rate schedule
            and update count compare across datasets.
        batch_size: windows an update.
        learning_rate: initial rate of :class:`kdsearch.training.rmsprop.TFRMSprop`.
        lr_decay, lr_every: the rate is multiplied by ``lr_decay`` every ``lr_every`` epochs.
        seed: of the weights' initial values and of the order of windows.
        rollout_steps: how many forecast steps are trained through; 1 is the paper's protocol.
        run_length: how many consecutive windows are drawn together. 1 draws windows independently (the paper's
            protocol). More lets one pass over a longer input serve them all, since STGCN is time-equivariant.
    """

    epochs: int = 50
    batch_size: int = 50
    learning_rate: float = 1e-3
    lr_decay: float = 0.7
    lr_every: int = 5
    seed: int = 0
    rollout_steps: int = 1
    run_length: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "lr_every", "rollout_steps", "run_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.run_length > 1 and self.rollout_steps > 1:
            raise ValueError("run_length and rollout_steps cannot both exceed 1: a roll-out feeds back per window")

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch counted from 1."""
        return self.learning_rate * self.lr_decay ** ((epoch - 1) // self.lr_every)
