"""The layers in single precision, by kernels where there are any, against double precision, forwards and backwards."""

from __future__ import annotations

import pytest
import torch

from kdsearch import rows
from kdsearch.models.stgcn import BASE, STGCN, STUDENT, Layout
from tests.training.tiny import randomised

SPARSE, DENSE = 0.05, 0.9
# A pruned network: a channel that is added to another, one that is added to none.
PRUNED = Layout(((1, 2, 3), (3, 2, 5)), (4, 3), ((1,), (2, -1), (0, -1, 1), (3, 0), (-1, 3, 0, 2, 1)))


def network(layout, n: int, share: float) -> STGCN:
    """With a graph kernel that is not symmetric and has rows without any number."""
    generator = torch.Generator().manual_seed(n)
    rest = 0.3 * torch.randn(2, n, n, generator=generator, dtype=torch.float64)
    rest = torch.where(torch.rand(2, n, n, generator=generator) < share, rest, 0.0)
    rest[:, n // 2] = 0.0
    kernel = torch.cat((torch.eye(n, dtype=torch.float64)[None], rest)).float()
    return randomised(STGCN(n, layout, kernel).double(), seed=3)


def gradients(model: STGCN, x: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
    """Everything a network gives for ``x``, and the gradients of a sum over it."""
    model = model.to(dtype)
    leaf = x.to(dtype).requires_grad_()
    found = model.features(leaf)
    everything = [found.prediction, *found.temporal, *found.spatial]
    total = sum((layer * torch.linspace(-1, 1, layer.numel()).view(layer.shape)).sum() for layer in everything)
    return [*everything, *torch.autograd.grad(total, [leaf, *model.parameters()])]


@pytest.mark.parametrize("layout", [STUDENT, BASE, PRUNED], ids=["student", "base", "pruned"])
@pytest.mark.parametrize(("n", "share"), [(7, DENSE), (40, DENSE), (40, SPARSE), (70, SPARSE), (40, 0.0)])
@pytest.mark.parametrize("numba", [True, False])
def test_single_precision_agrees_with_double(layout, n, share, numba, monkeypatch):
    if not numba:
        monkeypatch.setattr(rows, "_available", lambda: False)
    x = torch.randn(3, 14, n, 1, generator=torch.Generator().manual_seed(1))
    slow = gradients(network(layout, n, share), x, torch.float64)
    fast = gradients(network(layout, n, share), x, torch.float32)
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=2e-3, atol=2e-4 * float(b.detach().abs().max()))


def test_threads_do_not_change_the_result():
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        x = torch.randn(5, 12, 40, 1, generator=torch.Generator().manual_seed(1))
        results.append(gradients(network(STUDENT, 40, SPARSE), x, torch.float32))
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


def test_a_kernel_that_changes_is_looked_at_again():
    model = network(STUDENT, 40, SPARSE).float()
    x = torch.randn(2, 12, 40, 1, generator=torch.Generator().manual_seed(1))
    before = model(x)
    with torch.no_grad():
        model.graph_kernel[1:] *= 2.0
    after = model(x)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after.double(), model.double()(x.double()), rtol=1e-3, atol=1e-4)


def test_overflow_shows():
    model = network(STUDENT, 40, SPARSE).float()
    assert model(torch.full((1, 12, 40, 1), 1e37)).isnan().any()


@pytest.mark.parametrize("steps", [12, 59, 60, 61, 288])
def test_a_long_input_without_gradient_is_the_same(steps):
    model = network(BASE, 7, DENSE)
    x = torch.randn(2, steps, 7, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    whole = model.features(x)
    with torch.no_grad():
        pieces = model.features(x)
    for a, b in zip(
        [pieces.prediction, *pieces.temporal, *pieces.spatial],
        [whole.prediction, *whole.temporal, *whole.spatial],
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_export_records_operations_of_torch():
    model = network(STUDENT, 40, SPARSE).float().eval()
    x = torch.randn(2, 12, 40, 1, generator=torch.Generator().manual_seed(1))
    exported = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(exported(x), model(x), rtol=1e-4, atol=1e-4)
