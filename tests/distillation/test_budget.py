"""How many pairs a memory allows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdsearch.distillation import losses
from kdsearch.distillation.bank import bank_bytes
from kdsearch.distillation.budget import PAIRS, SMALLEST_REACH, sampling_for
from kdsearch.distillation.sampled import n_sampled_pairs
from kdsearch.models.stgcn import STGCN, TEACHER

NEEDS = losses.get("stcd").NEEDS
DAYS = 34


def network(n: int) -> STGCN:
    return STGCN(n, TEACHER, torch.zeros(3, n, n))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 700), share=st.floats(0.01, 1.2))
def test_what_is_chosen_fits(n, share):
    model = network(n)
    whole = bank_bytes(model, DAYS, 288, NEEDS)
    allowed = int(share * whole)
    sampling = sampling_for(model, DAYS, 288, NEEDS, allowed, seed=3)
    if whole <= allowed:
        assert sampling is None
    elif sampling is not None:
        assert sampling.seed == 3
        assert bank_bytes(model, DAYS, 288, NEEDS, sampling) <= allowed
        assert SMALLEST_REACH <= sampling.reach <= n // 4
        assert n_sampled_pairs(n, sampling.reach) <= max(PAIRS, SMALLEST_REACH * n)


def test_the_pairs_of_large_graphs_are_as_many_as_those_of_pemsd7():
    generous = 10**9
    for n in (500, 1026, 3000):
        sampling = sampling_for(network(n), 1, 288, NEEDS, bank_bytes(network(n), 1, 288, NEEDS) - 1, 0)
        assert sampling is not None
        assert PAIRS - n < n_sampled_pairs(n, sampling.reach) <= PAIRS
        # More memory changes nothing, less changes it in few steps.
        assert sampling_for(network(n), 1, 288, NEEDS, generous if n == 3000 else 10**8, 0) == sampling
    reaches = [
        None if (found := sampling_for(network(1026), DAYS, 288, NEEDS, int(allowed), 0)) is None else found.reach
        for allowed in np.linspace(0.5e9, 4e9, 60)
    ]
    assert set(reaches) == {None, 6, 12, 25}
    assert reaches == sorted(reaches, key=lambda r: r or 0)


@pytest.mark.parametrize("name", ["tcd", "fitnet", "none"])
def test_losses_without_node_pairs_sample_nothing(name):
    assert sampling_for(network(50), DAYS, 288, losses.get(name).NEEDS, 1, 0) is None
