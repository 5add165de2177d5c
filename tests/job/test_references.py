"""Networks trained beside each other are those trained one by one, kept and told alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from kdsearch.errors import UserError
from kdsearch.job import references
from kdsearch.job.plan import Plan, check
from kdsearch.job.references import trained, trained_all
from kdsearch.job.settings import JobSettings
from kdsearch.search.resources import Machine, Node
from kdsearch.search.session import Session
from kdsearch.training.reference import path_of
from kdsearch.training.settings import FitSettings
from tests.job import small

CORES = 4


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray gives away as many cores as it is told there are."""
    machine = Machine((Node(CORES),))
    monkeypatch.setattr(references, "local_machine", lambda: machine)
    monkeypatch.setattr("kdsearch.search.session.local_machine", lambda: machine)


def planned(folder: Path, **changes: object) -> Plan:
    given = {
        "dataset": str(small.declare(folder)),
        "cache_dir": folder / "cache",
        "output": folder / "out",
        "epochs": 1,
    }
    return check(JobSettings(**given, **changes), search=False)  # type: ignore[arg-type]


def students(plan: Plan, *seeds: int, **changes: float) -> list[FitSettings]:
    return [replace(plan.student, seed=seed, **changes) for seed in seeds]  # type: ignore[arg-type]


def test_students_beside_each_other_are_those_trained_one_by_one(tmp_path: Path) -> None:
    lines: list[str] = []
    plan = planned(tmp_path)
    wanted = students(plan, 5, 6, 7)
    path = path_of(plan.cache, plan.dataset, "student", plan.layout("student"), wanted[1])
    threads = torch.get_num_threads()
    alone = [trained(planned(tmp_path / "alone"), "student", one, lambda line: None) for one in wanted]
    assert torch.get_num_threads() == threads
    found = trained_all(plan, "student", wanted, lines.append)
    for one, other in zip(found, alone, strict=True):
        assert one.validation == other.validation
        assert all(torch.equal(value, other.weights[name]) for name, value in one.weights.items())
    assert sorted(line.split(":")[0] for line in lines if "trained in" in line) == [
        f"student without KD, seed {seed}" for seed in (5, 6, 7)
    ]
    assert path.is_file()

    lines.clear()
    again = trained_all(plan, "student", wanted, lines.append)
    assert [one.validation for one in again] == [one.validation for one in found]
    assert len(lines) == 3
    assert all("from the cache" in line for line in lines)


def test_a_worker_says_that_another_process_trains_the_same(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    wanted = students(plan, 8, 9)
    path = path_of(plan.cache, plan.dataset, "student", plan.layout("student"), wanted[0])
    path.parent.mkdir(parents=True)
    lines: list[str] = []
    other = FileLock(f"{path}.lock", thread_local=False)

    def say(line: str) -> None:
        lines.append(line)
        if "waiting" in line:
            other.release()

    with other:
        found = trained_all(plan, "student", wanted, say)
    assert [line for line in lines if "waiting" in line] == [
        "student without KD, seed 8: another process is training it, waiting"
    ]
    assert len(found) == 2


def test_teachers_share_the_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tmp_path, teachers=3, recipe="best", teacher_epochs=1)
    given = references._resources(plan, "teacher", Machine((Node(16),)), 3)
    assert (given.cpus, given.concurrency) == (5, 3)
    given = references._resources(plan, "teacher", Machine((Node(2),)), 3)
    assert (given.cpus, given.concurrency) == (2, 1)
    given = references._resources(plan, "teacher", Machine((Node(16, 2), Node(16, 2))), 3)
    assert (given.gpus, given.concurrency) == (1, 3)
    shy = planned(tmp_path, teachers=3, recipe="best", teacher_epochs=1, concurrency=1)
    assert references._resources(shy, "teacher", Machine((Node(16),)), 3).concurrency == 1


def test_one_that_diverges_ends_all_in_one_sentence(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    wanted = [*students(plan, 1), *students(plan, 2, learning_rate=1e30)]
    with Session(), pytest.raises(UserError, match=r"diverged on few at learning rate 1e\+30; lower it"):
        trained_all(plan, "student", wanted, lambda line: None)
