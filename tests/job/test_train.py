"""``kdsearch.train``: what is asked for is what is trained. Networks wait in the cache under what they should be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kdsearch import command, train
from kdsearch.job.plan import Plan, check
from kdsearch.job.settings import JobSettings
from kdsearch.results.best import write_best
from kdsearch.training.checkpoint import Checkpoint, save_checkpoint
from kdsearch.training.network import new_network
from kdsearch.training.reference import path_of
from tests.faults.bad_calls import sound

SET = ("--set", "batch_size=17", "--set", "learning_rate=0.0069")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in sound().items():
        (tmp_path / name).write_text(str(content))
    return tmp_path


def planned(folder: Path, **asked: Any) -> Plan:
    dataset = str(folder / "corner.toml")
    return check(JobSettings(dataset=dataset, loss="none", cache_dir=folder / "cache", **asked), search=False)


def keep(folder: Path, plan: Plan, network: str, score: float, **changes: Any) -> None:
    """An untrained network with that score, where one trained with these changes belongs."""
    layout = plan.layout(network)
    fit = replace(plan.student if network == "student" else plan.teacher, **changes)
    weights = new_network(plan.dataset, layout, fit.seed).state_dict()
    kept = Checkpoint(
        layout.blocks, weights, "corner", plan.dataset.fingerprint, 1, {"score": score}, 1.0, layout=layout
    )
    save_checkpoint(path_of(plan.cache, plan.dataset, network, layout, fit), kept)


def trained(folder: Path, *arguments: str) -> list[float]:
    """Scores of the networks that the command ends with."""
    where = ("--dataset", str(folder / "corner.toml"), "--cache-dir", str(folder / "cache"))
    code = command.run(train.main, [*where, "--output", str(folder / "out"), *arguments])
    assert code == 0
    found = json.loads((folder / "out" / "result.json").read_text())
    return [run["validation"]["score"] for run in found["per_seed"]]


@pytest.mark.parametrize("recipe", ["paper", "best"])
@pytest.mark.parametrize("network", ["student", "teacher", "base"])
def test_batch_size_and_rate_are_those_given(folder: Path, network: str, recipe: str) -> None:
    plan = planned(folder, recipe=recipe, epochs=3, teacher_epochs=3)
    keep(folder, plan, network, 8.0, seed=4)
    keep(folder, plan, network, 9.0, seed=4, batch_size=17, learning_rate=0.0069)
    how = ("--model", network, "--recipe", recipe, "--epochs", "3", "--seed", "4")
    assert trained(folder, *how) == [8.0]
    assert trained(folder, *how, *SET) == [9.0]


def test_the_winner_of_a_search_without_kd(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its batch size and rate come from the file, as those of every other winner do."""
    plan = planned(folder, recipe="best", epochs=3)
    for seed, score in ((5, 8.0), (6, 9.0)):
        keep(folder, plan, "student", score, seed=seed, batch_size=17, learning_rate=0.0069)
    params = {"batch_size": 17, "learning_rate": 0.0069}
    document = {"schema": 1, "dataset": "corner", "loss": "none", "params": params, "seeds": [5, 6]}
    document |= {"protocol": plan.protocol, "fingerprint": {"data": plan.dataset.fingerprint, "protocol": "p"}}
    figure = {"mean": 8.5, "std": 0.5}
    document["per_seed"] = [{"seed": s, "validation": {"score": v}} for s, v in ((5, 8.0), (6, 9.0))]
    document |= {"n_parameters": 1, "validation": {"score": figure}, "test": {}, "search": {"epochs": 3}}
    write_best(folder / "best.json", document)
    assert trained(folder, "--params", str(folder / "best.json")) == [8.0, 9.0]

    document["protocol"] = {**plan.protocol, "student": {**plan.protocol["student"], "channels": [[1, 5, 10]]}}
    document["protocol"]["student"].pop("calendar")
    write_best(folder / "best.json", document)
    where = ("--dataset", str(folder / "corner.toml"), "--params", str(folder / "best.json"))
    assert command.run(train.main, [*where, "--cache-dir", str(folder / "cache")]) == 2
    assert "whose student by --recipe best was another network" in capsys.readouterr().err
