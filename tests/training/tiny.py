"""A dataset and networks so small that a training takes a moment."""

from __future__ import annotations

import copy

import numpy as np
import torch

from kdsearch.data import Dataset, Split
from kdsearch.models.stgcn import STGCN

STEPS = 48
CHANNELS = ((1, 2, 3), (3, 2, 4))


class Tiny(Dataset):
    """One pass over the windows is an epoch: the real yardstick would make it hundreds here."""

    @property
    def passes_per_epoch(self) -> int:
        return 1


def tiny(seed: int = 0, n: int = 4, days: int = 3) -> Tiny:
    """``days`` training days, one validation and one test day of 48 steps: 28 windows each."""
    rng = np.random.default_rng(seed)
    t = np.arange(STEPS)[None, :, None]
    wave = 55 + 12 * np.sin(2 * np.pi * (t / STEPS + rng.uniform(size=(1, 1, n))))
    speeds = (wave + rng.normal(scale=2.0, size=(days + 2, STEPS, n))).astype(np.float32)
    chain = np.eye(n, k=1) + np.eye(n, k=-1)
    return Tiny("tiny", speeds, chain * 0.7, Split(days, 1, 1), "default")


def with_speeds(dataset: Dataset, speeds: np.ndarray) -> Tiny:
    """The same roads and split with other readings."""
    return Tiny(dataset.name, speeds, dataset.weights, dataset.split, dataset.space)


def randomised(model: STGCN, seed: int = 0, scale: float = 0.4) -> STGCN:
    """Every parameter drawn anew: biases, gammas and betas too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            drawn = torch.randn(p.shape, generator=generator, dtype=torch.float64) * scale
            p.copy_(drawn + (1.0 if name.endswith("gamma") else 0.0))
    return model


def clone(model: STGCN) -> STGCN:
    return copy.deepcopy(model)


def weights_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
