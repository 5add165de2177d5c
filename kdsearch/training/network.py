"""The networks of the paper as a recipe has them, and fresh ones for a dataset, from a seed."""

from __future__ import annotations

from dataclasses import replace

import torch

from kdsearch.data import Dataset
from kdsearch.data.site import Site
from kdsearch.models.stgcn import CHANNELS, STGCN, Channels, Layout
from kdsearch.training.recipe import PERSISTENT

__all__ = ["layout_of", "new_network"]


def layout_of(name: str, recipe: str) -> Layout:
    """The shape of ``"teacher"``, ``"base"`` or ``"student"`` (Table 1) under a recipe."""
    return replace(Layout.of(CHANNELS[name]), persistence=recipe in PERSISTENT)


def new_network(dataset: Dataset | Site, layout: Channels | Layout, seed: int) -> STGCN:
    """An untrained STGCN on the dataset's graph; the caller's random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return STGCN(dataset.n_nodes, layout, torch.tensor(dataset.graph_kernel), n_his=dataset.n_his)
