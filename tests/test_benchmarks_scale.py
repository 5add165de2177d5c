"""``experiments.benchmarks.scale`` and ``gpu``: what they print is about what they say. No figure of time is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmarks import gpu, scale
from experiments.benchmarks.cost import Cost, least_seconds, pass_cost, update_cost
from experiments.benchmarks.table import show
from experiments.benchmarks.training import Update, sensors
from kdsearch import command
from kdsearch.distillation import losses
from kdsearch.distillation.bank import LiveTeacher
from kdsearch.models import _layers
from kdsearch.models.stgcn import STUDENT, TEACHER
from kdsearch.training.batches import shuffled_windows
from kdsearch.training.fit import Trainer
from kdsearch.training.network import new_network
from kdsearch.training.settings import FitSettings
from tests.conftest import ROOT


def case(mode: str, nodes: int = 20, memory: int = 10**9) -> scale.Case:
    threads = torch.get_num_threads()
    return scale.Case(nodes, mode, days=3, built_days=1, bank_memory=memory, batch=4, threads=threads, seconds=0.01)


@pytest.mark.parametrize("mode", scale.MODES)
def test_a_case_is_measured(mode):
    row = scale.measure(case(mode))
    assert row["step_ms"] > 0
    assert row["pairs_a_row"] == {"no KD": None, "sampled pairs": 100}.get(mode, 190)
    assert (row["bank_MB"] is None) == (mode in ("no KD", "live teacher"))
    assert (row["chosen"] == "yes") == (mode == "all pairs")


def test_the_way_a_search_would_take_follows_the_budget():
    whole = scale.measure(case("all pairs"))["bank_MB"] * 1e6
    sampled = scale.measure(case("sampled pairs", memory=int(whole) - 1))
    assert sampled["chosen"] == "yes"
    assert sampled["bank_MB"] < whole / 1e6
    assert scale.measure(case("live teacher", memory=1000))["chosen"] == "yes"


def test_more_sampled_pairs_are_nearer_to_all():
    rows = scale.noise(case("sampled pairs", nodes=24), reaches=(1,), draws=3, batches=2)
    assert [row["reach"] for row in rows] == [1, 6]
    assert rows[1]["gradient_error_%"] < rows[0]["gradient_error_%"]
    assert all(0 < row["loss_error_%"] < 100 for row in rows)


@pytest.mark.parametrize("n", [12, 60])
def test_operations_are_those_that_torch_counts(n, monkeypatch):
    """torch counts matrix products alone, and here they are most of it; those of a CPU kernel it does not see."""
    monkeypatch.setattr(_layers, "usable", lambda tensor: False)
    dataset = sensors(n, 1)
    teacher = new_network(dataset, TEACHER, 0)
    update = Update(dataset, "none", None, batch=8)
    with FlopCounterMode(display=False) as counter:
        update()
    counted = update_cost(STUDENT, n, 8, None)["network"].flops
    assert 1.0 <= counted / counter.get_total_flops() < 1.8
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        teacher(update.windows.days[:1].unsqueeze(-1))
    counted = pass_cost(TEACHER, n, 288).flops
    assert 1.0 <= counted / counter.get_total_flops() < 1.1


def test_cost_of_the_losses_by_hand():
    parts = update_cost(STUDENT, 10, 2, pairs=45)
    assert set(parts) == {"network", "L_TCD", "L_SCD"}
    # Spatial layers have 2 channels and 10 and 6 steps.
    assert parts["L_SCD"] == Cost(20.0 * 2 * 16 * 45, 2 * 16 * (2 * 4 * 10 * 2 + 2 * 45))
    pairs, floats = 45 + 28 + 15 + 6, 10 * 2 + 8 * 4 + 6 * 2 + 4 * 8
    flops = 10 * 2 * (45 * 20 + 28 * 34 + 15 * 20 + 6 * 62)
    assert parts["L_TCD"] == Cost(flops, 10 * 2 * (2 * 4 * floats + 2 * pairs))
    assert least_seconds(Cost(100, 10), flops=10, bandwidth=10) == 10
    assert least_seconds(Cost(10, 100), flops=10, bandwidth=10) == 10


def test_an_update_is_that_of_the_training_loop():
    dataset = sensors(12, 2)
    teacher = LiveTeacher(new_network(dataset, TEACHER, 0))
    values = {h.name: h.default for h in losses.hyperparameters("stcd")}
    settings = FitSettings(batch_size=16, seed=1)
    trainer = Trainer(new_network(dataset, STUDENT, 1), dataset, losses.build("stcd", **values), settings, teacher)
    update = Update(dataset, "stcd", teacher, batch=16)
    before = [p.detach().clone() for p in update.params]
    trainer.rehearse()  # one update with its first minibatch
    update.index.copy_(shuffled_windows(len(update.windows), 16, torch.Generator().manual_seed(1))[0])
    update.compute()
    for mine, theirs, old in zip(update.params, trainer.model.parameters(), before, strict=True):
        torch.testing.assert_close(mine, theirs)
        assert not torch.equal(mine, old)


def test_a_table_and_the_same_as_json(capsys):
    report = {"rows": [{"n": 1026, "ms": 3.14159, "who": None}, {"n": 5, "more": "x"}], "none": [], "device": "CPU"}
    show(report, [("rows", "Rows"), ("none", "None")], as_json=False)
    lines = capsys.readouterr().out.split("\n")
    assert lines[1] == "Rows"
    assert [cell.strip() for cell in lines[5].strip("|").split("|")] == ["1,026", "3.14", "-", "-"]
    show(report, [("rows", "Rows")], as_json=True)
    assert json.loads(capsys.readouterr().out) == report


@pytest.mark.long
def test_the_gpu_command_works_without_one(capfd):
    assert (
        command.run(
            gpu.main,
            ["--device", "cpu", "--nodes", "12", "--batch", "4", "--seconds", "1", "--trials", "1,2", "--json"],
        )
        == 0
    )
    report = json.loads(capfd.readouterr().out)
    assert [(row["loss"], row["variant"]) for row in report["updates"]] == [("none", "eager"), ("stcd", "eager")]
    none, stcd = report["updates"]
    assert 100 < none["operators"] < stcd["operators"]
    assert none["least_ms"] < stcd["least_ms"] < stcd["ms"]
    assert [row["trials"] for row in report["sharing"]] == [1, 2]
    assert report["sharing"][0]["throughput"] == pytest.approx(1)
    assert report["teacher"][0]["day_ms"] > 0


@pytest.mark.parametrize(
    ("main", "arguments", "says"),
    [
        (scale.main, "--modes all", "'all' is not one of"),
        (scale.main, "--nodes 20,0", "at least 1"),
        (scale.main, "--bank-memory auto", "4GB"),
        (scale.main, "--nodes 12", "too few pairs"),
        (gpu.main, "--variants eagre", "did you mean eager?"),
        (gpu.main, "--device tpu", "tpu"),
        (gpu.main, "--trials none", "whole number"),
    ],
)
def test_mistakes_are_one_sentence(main, arguments, says, capsys):
    assert command.run(main, arguments.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_told(capsys):
    assert command.run(gpu.main, ["--device", "cuda"]) == 2
    assert "--device cpu" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["scale", "gpu"])
def test_help_loads_nothing_and_the_work_needs_torch_only(name):
    script = (
        f"import sys; from experiments.benchmarks import {name}\n"
        f"try: {name}.main(['--help'])\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "import experiments.benchmarks.device, experiments.benchmarks.sharing, experiments.benchmarks.training\n"
        "import kdsearch.distillation.budget\n"
        "assert not {'ray', 'optuna', 'pandas'} & set(sys.modules)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert process.returncode == 0, process.stderr
    assert "--json" in process.stdout
