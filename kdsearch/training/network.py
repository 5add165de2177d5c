"""A fresh network for a dataset, from a seed."""

from __future__ import annotations

import torch

from kdsearch.data import Dataset
from kdsearch.data.site import Site
from kdsearch.models.stgcn import STGCN, Channels, Layout

__all__ = ["new_network"]


def new_network(dataset: Dataset | Site, channels: Channels | Layout, seed: int) -> STGCN:
    """An untrained STGCN on the dataset's graph; the caller's random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return STGCN(dataset.n_nodes, channels, torch.tensor(dataset.graph_kernel), n_his=dataset.n_his)
