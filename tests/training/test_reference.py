"""Networks that are trained once: kept, carried on, shared between processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kdsearch.data import Dataset
from kdsearch.distillation import losses
from kdsearch.errors import UserError
from kdsearch.training import reference
from kdsearch.training.checkpoint import Checkpoint, load_checkpoint, load_tensors, save_tensors
from kdsearch.training.fit import EpochReport
from tests.conftest import ROOT
from tests.training.tiny import CHANNELS, tiny, weights_equal
from tests.training.train_once_script import SETTINGS


class Count:
    """Which epochs were trained."""

    def __init__(self, interrupt: int = 0) -> None:
        self.epochs: list[int] = []
        self.best: list[float] = []
        self.interrupt = interrupt

    def __call__(self, report: EpochReport) -> None:
        self.epochs.append(report.epoch)
        self.best.append(report.best_score)
        if report.epoch == self.interrupt:
            raise KeyboardInterrupt


def train(cache: Path, count: Count, data: Dataset | None = None, **changes: Any) -> tuple[Checkpoint, bool]:
    settings = replace(SETTINGS, **changes)
    return reference.train_once(data or tiny(), "net", CHANNELS, losses.build("none"), settings, cache, on_epoch=count)


def files(cache: Path) -> list[str]:
    return sorted(p.suffix for p in cache.iterdir() if p.suffix != ".lock")


def same(a: Checkpoint, b: Checkpoint) -> bool:
    return weights_equal(a.weights, b.weights) and (a.epoch, a.validation) == (b.epoch, b.validation)


def test_the_second_call_reads_the_cache(tmp_path):
    first, second = Count(), Count()
    trained, cached = train(tmp_path / "new" / "cache", first)
    assert not cached
    assert first.epochs == [1, 2, 3, 4, 5]
    again, cached = train(tmp_path / "new" / "cache", second)
    assert cached
    assert second.epochs == []
    assert same(again, trained)
    assert again.network(tiny()).channels == CHANNELS
    assert files(tmp_path / "new" / "cache") == [".pt"]


@pytest.mark.parametrize("change", [{"seed": 1}, {"epochs": 2}, {"learning_rate": 1e-3}, {"run_length": 2}])
def test_another_training_is_another_file(tmp_path, change):
    data = tiny()
    assert reference.fingerprint(data, CHANNELS, SETTINGS) == reference.fingerprint(tiny(), CHANNELS, SETTINGS)
    assert reference.fingerprint(data, CHANNELS, SETTINGS) != reference.fingerprint(
        data, CHANNELS, replace(SETTINGS, **change)
    )
    train(tmp_path, Count())
    count = Count()
    _, cached = train(tmp_path, count, **change)
    assert not cached
    assert count.epochs


def test_other_data_or_architecture_is_another_file():
    one = reference.fingerprint(tiny(), CHANNELS, SETTINGS)
    assert one != reference.fingerprint(tiny(seed=1), CHANNELS, SETTINGS)
    assert one != reference.fingerprint(tiny(), ((1, 2, 3), (3, 2, 5)), SETTINGS)


def test_interrupted_and_carried_on(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "_SAVE_EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "a", Count(interrupt=3))
    assert files(tmp_path / "a") == [".partial"]
    rest = Count()
    carried, cached = train(tmp_path / "a", rest)
    assert (rest.epochs, cached) == ([4, 5], False)
    never_stopped = Count()
    whole, _ = train(tmp_path / "b", never_stopped)
    assert same(carried, whole)
    assert rest.best == never_stopped.best[3:]  # the epochs before count
    assert files(tmp_path / "a") == [".pt"]


@pytest.mark.parametrize("damage", ["garbage", "half", "keys"])
def test_what_is_left_of_a_training_may_be_damaged(tmp_path, monkeypatch, damage):
    """The training then starts anew: from fresh weights, not from what could be read."""
    monkeypatch.setattr(reference, "_SAVE_EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "a", Count(interrupt=2))
    (partial,) = (tmp_path / "a").glob("*.partial")
    if damage == "keys":
        state = load_tensors(partial)
        del state["best_weights"]
        save_tensors(partial, state)
    else:
        partial.write_bytes(b"garbage" if damage == "garbage" else partial.read_bytes()[:2000])
    count = Count()
    anew, _ = train(tmp_path / "a", count)
    assert count.epochs == [1, 2, 3, 4, 5]
    whole, _ = train(tmp_path / "b", Count())
    assert same(anew, whole)


@pytest.mark.parametrize("damage", [b"", b"garbage"])
def test_a_damaged_file_is_trained_again(tmp_path, damage):
    trained, _ = train(tmp_path, Count())
    (path,) = tmp_path.glob("*.pt")
    path.write_bytes(damage)
    count = Count()
    again, cached = train(tmp_path, count)
    assert (count.epochs, cached) == ([1, 2, 3, 4, 5], False)
    assert same(again, trained)
    assert train(tmp_path, Count())[1]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for cache in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(UserError, match=r"cannot write to the cache folder .* --cache-dir"):
            train(cache, Count())


def test_divergence_is_the_users_to_mend(tmp_path):
    with pytest.raises(UserError, match=r"the net network diverged on tiny at learning rate 1e\+06"):
        train(tmp_path, Count(), learning_rate=1e6)
    assert files(tmp_path) == []
    assert train(tmp_path, Count())[0].epoch >= 1  # the lock is free again


def test_one_that_diverges_midway_says_so_and_is_what_it_was_before(tmp_path):
    late = {"lr_decay": 1e9, "lr_every": 2}
    trained, _ = train(tmp_path, Count(), **late)
    kept, cached = train(tmp_path, Count(), **late)
    assert cached
    assert trained.epoch == kept.epoch <= 2
    assert trained.diverged == kept.diverged == 3
    assert train(tmp_path, Count())[0].diverged is None


def start(cache: Path, log: Path, go: Path | str = "-", last: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.training.train_once_script", str(cache), str(log), str(go), str(last)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.faults
def test_two_processes_at_once_train_once(tmp_path):
    log, go = tmp_path / "log", tmp_path / "go"
    both = [start(tmp_path / "cache", log, go) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    go.touch()
    said = sorted((process.communicate(timeout=120)[0] for process in both), key=len)
    assert [process.returncode for process in both] == [0, 0]
    assert log.read_text().split() == ["1", "2", "3", "4", "5"]
    assert said[0].startswith("trained ")
    assert said[1] == "waiting\n" + said[0].replace("trained", "cached")


@pytest.mark.faults
def test_killed_and_carried_on(tmp_path):
    log = tmp_path / "log"
    process = start(tmp_path / "a", log, last=3)
    process.communicate(timeout=120)
    assert process.returncode == -9
    assert log.read_text().split() == ["1", "2", "3"]
    rest = Count()
    torch.set_num_threads(1)
    carried, cached = train(tmp_path / "a", rest)
    assert (rest.epochs, cached) == ([4, 5], False)
    assert same(carried, train(tmp_path / "b", Count())[0])


def test_a_file_that_cannot_be_read_just_now_is_no_damaged_one(tmp_path):
    """A process out of file descriptors must not take a trained teacher for garbage and remove it."""
    train(tmp_path, Count())
    (path,) = tmp_path.glob("*.pt")
    before = path.read_bytes()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, most))
    try:
        with pytest.raises(UserError, match="cannot be read"):
            load_checkpoint(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "load_checkpoint", lambda path: (_ for _ in ()).throw(UserError("cannot be read")))
        with pytest.raises(UserError, match="cannot be read"):
            train(tmp_path, Count())
    assert path.read_bytes() == before
    assert train(tmp_path, Count())[1]
