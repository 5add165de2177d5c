"""The clock of Table 1: what it runs and what it leaves alone."""

from __future__ import annotations

import torch

from kdsearch.models.stgcn import STGCN
from kdsearch.training.latency import forward_time


def test_so_many_passes_of_such_a_batch(monkeypatch):
    model = STGCN(5, ((1, 2, 3), (3, 2, 4)), torch.eye(5).expand(3, 5, 5))
    seen = []
    forward = STGCN.forward

    def watched(self, x, start):
        seen.append((tuple(x.shape), self.training, torch.is_grad_enabled()))
        return forward(self, x, start)

    monkeypatch.setattr(STGCN, "forward", watched)
    model.train()
    timing = forward_time(model, batch=7, runs=4)
    assert seen == [((7, 12, 5, 1), False, False)] * 6  # two to warm up
    assert (timing.runs, timing.batch) == (4, 7)
    assert 0 < timing.median < 10 > timing.mean > 0
    assert model.training
