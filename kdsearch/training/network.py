"""The networks of a recipe, and fresh ones for a dataset, from a seed."""

from __future__ import annotations

from dataclasses import replace

import torch

from kdsearch.data import Dataset
from kdsearch.data.site import Site
from kdsearch.models.stgcn import CHANNELS, STGCN, Channels, Layout
from kdsearch.training.recipe import PAPER

__all__ = ["layout_of", "new_network"]

# Wider than the student of Table 1 for fewer parameters, 6,526 against 10,144 on 228 sensors: nine tenths of that one's
# are gains and shifts of every node and channel. What each change is worth: experiments/results/levers.md.
_STUDENT: Channels = ((1, 5, 10), (10, 5, 20))
# Steps ahead whose usual change networks of the best recipe are told: 15 and 45 minutes.
_CALENDAR = (3, 9)


def layout_of(name: str, recipe: str) -> Layout:
    """The shape of ``"teacher"``, ``"base"`` or ``"student"`` under a recipe.

    The paper's are those of Table 1. Those of the best recipe forecast the change from the last reading, and are told
    how the speeds usually change from that time of day on.
    """
    if recipe == PAPER:
        return Layout.of(CHANNELS[name])
    if name == "student":
        return replace(Layout.of(_STUDENT, _CALENDAR), persistence=True, affine="rank1")
    return replace(Layout.of(CHANNELS[name], _CALENDAR), persistence=True)


def new_network(dataset: Dataset | Site, layout: Channels | Layout, seed: int) -> STGCN:
    """An untrained STGCN on the dataset's graph; the caller's random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the devices too
        calendar = isinstance(layout, Layout) and layout.calendar
        return STGCN(
            dataset.n_nodes,
            layout,
            torch.tensor(dataset.graph_kernel),
            n_his=dataset.n_his,
            usual_day=torch.tensor(dataset.usual_day) if calendar else None,
        )
