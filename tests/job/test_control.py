"""What a distilled winner is compared with: the same student, trained as it was, without KD."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kdsearch.command import Confirm
from kdsearch.job.plan import Plan, check
from kdsearch.job.prepare import Prepared, build_objective
from kdsearch.job.rivals import train_control
from kdsearch.job.settings import JobSettings
from kdsearch.search.confirm import Confirmed
from kdsearch.training.checkpoint import Checkpoint, save_checkpoint
from kdsearch.training.network import new_network
from kdsearch.training.reference import path_of


def planned(folder: Path, loss: str = "tcd", recipe: str = "paper") -> Plan:
    asked = JobSettings(
        loss=loss, recipe=recipe, cache_dir=folder, output=folder / "out", confirm=Confirm(1, 2), epochs=2
    )
    return check(asked, search=False)


def control(plan: Plan, batch_size: int, learning_rate: float) -> tuple[list[Checkpoint], list[str]]:
    prepared = Prepared(plan, [], {}, {}, build_objective(plan, None, None, None))
    params = {"batch_size": batch_size, "learning_rate": learning_rate, "alpha1": 0.3, "alpha3": 0.5}
    lines: list[str] = []
    return train_control(prepared, Confirmed(4, params, ()), lines.append), lines


@pytest.mark.parametrize("recipe", ["paper", "best"])
def test_it_has_the_winners_batch_size_rate_and_seeds(tmp_path: Path, recipe: str) -> None:
    """Networks that wait in the cache under exactly these settings are found."""
    plan = planned(tmp_path, recipe=recipe)
    layout = plan.layout("student")
    for seed in plan.seeds:
        fit = replace(plan.student, batch_size=20, learning_rate=0.006, seed=seed)
        weights = new_network(plan.dataset, layout, seed).state_dict()
        kept = Checkpoint(
            layout.blocks, weights, "demo", plan.dataset.fingerprint, 1, {"score": seed}, 1.0, layout=layout
        )
        save_checkpoint(path_of(plan.cache, plan.dataset, "student", layout, fit), kept)
    found, lines = control(plan, 20, 0.006)
    assert all(path.exists() for path in plan.networks)  # they travel with an output behind a URI
    assert len(plan.networks) == len(found)
    assert [c.validation["score"] for c in found] == list(plan.seeds)
    assert len(plan.seeds) == 2
    assert "batch size 20, rate 0.006" in lines[0]
    assert all("from the cache" in line for line in lines[1:])


def test_it_is_not_trained_where_it_would_say_nothing_new(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert control(plan, plan.student.batch_size, plan.student.learning_rate) == ([], [])
    assert control(planned(tmp_path, loss="none"), 20, 0.006) == ([], [])
