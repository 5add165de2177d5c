"""``--bank-memory``: what trials are told of the teacher, and what a result says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kdsearch.data import load
from kdsearch.distillation import losses
from kdsearch.distillation.bank import bank_bytes
from kdsearch.errors import UserError
from kdsearch.job.bank import recorded_sampling
from kdsearch.job.plan import Plan, check
from kdsearch.job.prepare import build_bank, build_objective
from kdsearch.job.settings import JobSettings
from kdsearch.models.stgcn import TEACHER
from kdsearch.search.runner import check_resume
from kdsearch.search.study import open_study
from kdsearch.training.checkpoint import Checkpoint
from kdsearch.training.network import new_network

DEMO = load("demo")


def whole(loss: str = "stcd") -> int:
    return bank_bytes(new_network(DEMO, TEACHER, 0), DEMO.split.train, DEMO.steps_per_day, losses.get(loss).NEEDS)


def planned(tmp_path: Path, memory: int | str, loss: str = "stcd", seed: int = 0) -> Plan:
    settings = JobSettings(
        loss=loss, output=tmp_path / "run", cache_dir=tmp_path / "cache", bank_memory=memory, seed=seed
    )
    return check(settings, search=False)


def untrained() -> Checkpoint:
    weights = new_network(DEMO, TEACHER, 0).state_dict()
    return Checkpoint(TEACHER, weights, DEMO.name, DEMO.fingerprint, 1, {"score": 1.0}, 0.0)


def test_a_result_names_sampled_pairs_and_only_those(tmp_path):
    everything, sampled, live = (planned(tmp_path, int(share * whole())) for share in (1.0, 0.85, 0.01))
    assert sampled.sampling is not None
    assert everything.sampling is None
    # The teacher itself tells what a bank of all pairs tells: the results compare.
    assert everything.protocol == live.protocol
    assert everything.search.identity == live.search.identity
    assert sampled.protocol != everything.protocol
    assert sampled.search.identity != everything.search.identity
    assert "bank-memory" in " ".join(sampled.search.identity)  # a refused resume names what to change
    stored = json.loads(json.dumps(sampled.protocol))
    assert recorded_sampling(stored) == sampled.sampling
    assert recorded_sampling(everything.protocol) is None
    assert planned(tmp_path, int(0.85 * whole()), seed=5).sampling != sampled.sampling


@pytest.mark.parametrize("loss", ["tcd", "rd_l2", "none", "fitnet"])
def test_losses_without_node_pairs_have_nothing_to_sample(tmp_path, loss):
    assert planned(tmp_path, 1000, loss).sampling is None


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (1.0, "teacher bank: all pairs, "),
        (0.85, "teacher bank: sampled pairs, 48.3% of all at each time step (all: 0.01 GB), "),
        (0.01, "the teacher runs with every trial instead"),
    ],
)
def test_one_line_says_what_trials_are_told(tmp_path, share, says):
    memory = int(share * whole())
    plan = planned(tmp_path, memory)
    lines: list[str] = []
    bank, live, _ = build_bank(plan, [untrained()], memory, lines.append)
    assert len(lines) == 1
    assert says in lines[0]
    assert (bank is None) == (live is not None)
    if bank is not None:
        assert bank.n_bytes <= memory
    # And a trial learns from it.
    trainer = build_objective(plan, bank, live, None).trainer(plan.space.full(plan.space.known[0]), "cpu", 0)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.rehearse()
    assert any((a != b).any() for a, b in zip(before, trainer.model.parameters(), strict=True))


def test_a_search_that_is_carried_on_reads_its_bank(tmp_path):
    plan, lines = planned(tmp_path, "auto"), []
    made, _, _ = build_bank(plan, [untrained()], "auto", lines.append)
    read, _, _ = build_bank(plan, [untrained()], "auto", lines.append)
    assert [" from the cache in " in line for line in lines] == [False, True]
    assert made is not None
    assert read is not None
    np.testing.assert_array_equal(read.prediction, made.prediction)


def test_a_resumed_search_keeps_its_pairs_whatever_memory_is_free(tmp_path):
    """Free memory differs from day to day, and a search that is carried on must not notice."""
    ample, scarce = whole(), int(0.85 * whole())
    for first, then in ((scarce, ample), (ample, scarce)):
        output = tmp_path / str(first)
        settings = JobSettings(output=output, bank_memory=first)
        began = check(settings)
        check_resume(began.space, began.search)  # nothing is there yet
        open_study(output, began.search.setup(began.space), resume=False)
        resumed = check(replace(settings, bank_memory=then, resume=True))
        assert resumed.sampling == began.sampling
        assert (began.sampling is None) == (first == ample)
        check_resume(resumed.space, resumed.search)
        # A new search of its own takes what the memory allows.
        assert check(replace(settings, output=tmp_path / "new", bank_memory=then)).sampling != began.sampling


def test_pairs_that_do_not_fit_any_more_are_refused(tmp_path):
    plan = planned(tmp_path, int(0.85 * whole()))
    with pytest.raises(UserError, match="--bank-memory"):
        build_bank(plan, [untrained()], 1000, print)
