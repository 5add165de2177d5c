"""A small road, small networks on it, and what tests of pruning share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from kdsearch.data import Dataset, Split
from kdsearch.distillation import losses
from kdsearch.distillation.bank import LiveTeacher
from kdsearch.models.stgcn import STGCN
from kdsearch.training.fit import Trainer
from kdsearch.training.network import new_network
from kdsearch.training.settings import FitSettings

SMALL = ((1, 4, 6), (6, 3, 8))
KD = {"alpha1": 0.2, "alpha2": 0.3, "alpha3": 0.5}
ONCE = FitSettings(epochs=1, batch_size=186)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The tensors are tiny: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def road() -> Dataset:
    """Five sensors in a row; daily waves that run along it, with noise."""
    n, steps, days = 5, 144, 5
    rng = np.random.default_rng(0)
    t = np.arange(days * steps).reshape(days, steps, 1)
    wave = np.sin(2 * np.pi * (t - 2 * np.arange(n)) / steps)
    speeds = 50 + 15 * wave + rng.normal(0, 2, size=(days, steps, n))
    weights = np.eye(n, k=1) + np.eye(n, k=-1)
    return Dataset("road", speeds.astype(np.float32), weights, Split(3, 1, 1), "default")


def randomise(model: STGCN, seed: int = 0) -> STGCN:
    """Weights that no initialisation gives: biases, gammas and betas are random too, so nothing cancels by being 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return model


@pytest.fixture
def small(road: Dataset) -> STGCN:
    """All three residuals as published: a 1x1 map into block 2, padding elsewhere, identity in the head."""
    return randomise(new_network(road, SMALL, seed=3))


def trainer_of(road: Dataset, pruning: Any, settings: FitSettings = ONCE) -> Trainer:
    """A small network that learns from another one of its size, and is pruned."""
    teacher = LiveTeacher(randomise(new_network(road, SMALL, seed=9)))
    model = randomise(new_network(road, SMALL, seed=1))
    return Trainer(model, road, losses.build("stcd", **KD), settings, teacher, pruning=pruning)
