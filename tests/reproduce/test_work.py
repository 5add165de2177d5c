"""One training: of its full length whatever the teller gives back, kept, and read back without training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from experiments.reproduce import kept
from experiments.reproduce.plans import Task
from experiments.reproduce.rows import ROWS
from experiments.reproduce.work import Tools, network_of, perform
from kdsearch.models.stgcn import STUDENT
from kdsearch.training.evaluate import evaluate
from kdsearch.training.reference import fingerprint
from kdsearch.training.settings import FitSettings
from tests.training.tiny import tiny

PARAMS = {"batch_size": 16, "learning_rate": 1e-3}


def task(key: str, folder: Path, epochs: int = 4) -> Task:
    fit = FitSettings(epochs=epochs, batch_size=16, seed=1)
    return Task(f"{key} seed 1", ROWS[key], 1, fit, PARAMS, folder / "reproduce" / f"{key}.pt")


@pytest.mark.parametrize("key", ["astgcn", "none"])
def test_a_teller_that_answers_does_not_end_the_training(key, tmp_path):
    data, lines = tiny(), []

    def told(line: str) -> bool:
        lines.append(line)
        return True  # as Ray's store of keys does when a key is written again

    record = perform(task(key, tmp_path), Tools(data, tmp_path), told)  # type: ignore[arg-type]
    assert [line.split(",")[0] for line in lines] == [f"epoch {k} of 4" for k in (1, 2, 3, 4)]
    assert record.epochs == (4 if key == "astgcn" else 0)


def test_a_result_is_read_back(tmp_path):
    data, told = tiny(), []
    one = task("none", tmp_path)
    record = perform(one, Tools(data, tmp_path), told.append)
    assert len(told) == 4
    assert perform(one, Tools(data, tmp_path), told.append) == record
    assert len(told) == 4
    network = network_of(one, data, tmp_path)
    assert evaluate(network, data, "test") == record.test
    assert evaluate(network, data, "validation").items() <= record.validation.items()
    assert (tmp_path / f"tiny-student-{fingerprint(data, STUDENT, one.fit)}.pt").is_file()


def test_a_damaged_result_is_computed_again(tmp_path):
    data = tiny()
    one = task("copy_last", tmp_path)
    record = perform(one, Tools(data, tmp_path), print)
    one.path.write_bytes(b"not a result")
    assert kept.read(one.path) is None
    again = perform(one, Tools(data, tmp_path), print)
    assert (again.test, again.validation) == (record.test, record.validation)
    torch.save({"format": 0, "record": {}, "weights": {}}, one.path)
    assert kept.read(one.path) is None
