"""The benchmark of a step: that it compares like with like and prints every figure. No time is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from experiments.benchmarks import step
from experiments.benchmarks.naive import naive_stcd
from experiments.benchmarks.plain import PlainSTGCN
from experiments.benchmarks.workload import ALPHAS, Workload
from kdsearch.data.graph import chebyshev_basis, scaled_laplacian
from kdsearch.distillation import losses
from kdsearch.errors import UserError
from kdsearch.models.stgcn import CHANNELS, STGCN
from tests.conftest import ROOT
from tests.training.tiny import randomised

KEYS = {
    "stcd_over_none",
    "naive_over_stcd",
    "windowed_over_day",
    "bank_bytes",
    "validation_over_plain",
    "none_over_plain",
    "search_overhead",
    "help_seconds",
    "first_step_seconds",
}


def network(channels, n: int = 7) -> STGCN:
    work = Workload(n, 4)
    kernel = torch.tensor(chebyshev_basis(scaled_laplacian(work.dataset.weights)))
    model = STGCN(n, channels, kernel).double()
    model.graph_kernel = kernel
    return randomised(model)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("channels", [*CHANNELS.values(), ((1, 3, 2), (2, 4, 1))])
def test_the_plain_network_equals_ours(channels):
    model = network(channels)
    plain, x = PlainSTGCN(model), draw(2, 12, 7)
    for a, b in zip(_all(plain.features(x[:, None])), _all(model.features(x[..., None])), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(plain.roll_out(x, 9)[0], model.roll_out(x, 9)[0], rtol=1e-9, atol=1e-9)


def _all(features) -> list[torch.Tensor]:
    return [features.prediction, *features.temporal, *features.spatial]


def test_the_naive_loss_equals_ours():
    student, teacher = network(CHANNELS["student"]), network(CHANNELS["base"])
    x, target = draw(2, 12, 7), draw(3, 7)[:2]
    ours = losses.build("stcd", **ALPHAS)
    with torch.no_grad():
        known = teacher.features(x[..., None])
    gradients = []
    for loss in (
        ours(student.features(x[..., None]), known, target).total,
        naive_stcd(student.features(x[..., None]), known, target, **ALPHAS),
    ):
        gradients.append([loss, *torch.autograd.grad(loss, list(student.parameters()))])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.long
def test_the_command_prints_every_figure():
    arguments = ["--n-nodes", "8", "--batch", "4", "--repeats", "1", "--trials", "2", "--trial-seconds", "0.2"]
    run = subprocess.run(
        [sys.executable, "-m", "experiments.benchmarks.step", "--json", *arguments, "--at-once", "1"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert set(found) >= KEYS
    assert all(found[key] > 0 for key in KEYS)


def test_a_part_alone_as_a_table(capsys):
    assert step.main(["--n-nodes", "6", "--batch", "3", "--repeats", "1", "--only", "steps", "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:5]] == [
        "stcd_over_none",
        "naive_over_stcd",
        "none_over_plain",
    ]
    assert all(line.split("|")[4].strip() in ("yes", "no") for line in lines[2:5])


def test_help_needs_nothing_heavy():
    code = "import sys, experiments.benchmarks.step as s; s.parser().format_help(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_an_unknown_part_is_refused():
    with pytest.raises(UserError, match="nothing"):
        step.main(["--only", "nothing"])
