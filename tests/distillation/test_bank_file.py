"""Banks on disk: what is read back is what was made, and a cache folder does not grow without end."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from kdsearch.data import Windows, load
from kdsearch.distillation import bank_file, losses
from kdsearch.distillation.bank import TeacherBank
from kdsearch.distillation.bank_file import kept_or_made, path_of
from kdsearch.distillation.losses import Needs
from kdsearch.distillation.sampled import Sampling
from kdsearch.models.stgcn import STUDENT
from kdsearch.training.checkpoint import Checkpoint
from kdsearch.training.network import new_network

DEMO = load("demo")
NEEDS = Needs(
    prediction=True,
    temporal_correlation=True,
    spatial_correlation=True,
    temporal_features=(1,),
    spatial_features=(0,),
)


def teacher(seed: int = 0) -> Checkpoint:
    weights = new_network(DEMO, STUDENT, seed).state_dict()
    return Checkpoint(STUDENT, weights, DEMO.name, DEMO.fingerprint, 1, {"score": 1.0}, 0.0)


def made(needs: Needs = NEEDS, sampling: Sampling | None = None, steps: int = 1) -> TeacherBank:
    network, days = teacher().network(DEMO), Windows(DEMO, "train").days[:1]
    bank = TeacherBank.build(network, days, needs, sampling)
    return bank.with_rollout(network, days, steps) if steps > 1 else bank


def never() -> TeacherBank:
    raise AssertionError("the bank was made again")


def arrays(value: object) -> list[np.ndarray]:
    if isinstance(value, np.ndarray):
        return [value]
    return [a for item in value for a in arrays(item)] if isinstance(value, (list, tuple)) else []


@pytest.mark.parametrize(
    ("needs", "sampling", "steps"),
    [(NEEDS, None, 1), (losses.get("stcd").NEEDS, Sampling(2, 5), 3), (losses.get("rd_l2").NEEDS, None, 1)],
)
def test_what_is_read_back_is_what_was_made(tmp_path, needs, sampling, steps):
    path = path_of(tmp_path, DEMO, [teacher()], needs, sampling, steps)
    first, cached = kept_or_made(path, lambda: made(needs, sampling, steps))
    assert not cached
    again, cached = kept_or_made(path, never)
    assert cached
    for f in fields(TeacherBank):
        mine, other = getattr(first, f.name), getattr(again, f.name)
        assert type(mine) is type(other), f.name
        assert len(arrays(mine)) == len(arrays(other)), f.name
        for a, b in zip(arrays(mine), arrays(other), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
    assert again.window_steps == first.window_steps
    assert again.n_bytes == first.n_bytes


def test_every_difference_has_a_file_of_its_own(tmp_path):
    stcd = losses.get("stcd").NEEDS
    changed = replace(teacher(), weights={k: v + 1e-6 for k, v in teacher().weights.items()})
    other_days = replace(DEMO, split=replace(DEMO.split, train=DEMO.split.train - 1, test=DEMO.split.test + 1))
    paths = [
        path_of(tmp_path, DEMO, [teacher()], stcd, None, 1),
        path_of(tmp_path, DEMO, [teacher(1)], stcd, None, 1),
        path_of(tmp_path, DEMO, [teacher(), teacher(1)], stcd, None, 1),
        path_of(tmp_path, DEMO, [changed], stcd, None, 1),
        path_of(tmp_path, DEMO, [teacher()], losses.get("tcd").NEEDS, None, 1),
        path_of(tmp_path, DEMO, [teacher()], stcd, Sampling(2, 5), 1),
        path_of(tmp_path, DEMO, [teacher()], stcd, Sampling(2, 6), 1),
        path_of(tmp_path, DEMO, [teacher()], stcd, None, 9),
        path_of(tmp_path, other_days, [teacher()], stcd, None, 1),
    ]
    assert len(set(paths)) == len(paths)
    assert paths[0] == path_of(tmp_path, load("demo"), [teacher()], stcd, None, 1)


@pytest.mark.parametrize("content", [b"", b"no bank", None])
def test_a_damaged_file_counts_as_absent(tmp_path, content):
    path = tmp_path / "demo-bank-0.pt"
    whole, _ = kept_or_made(path, made)
    path.write_bytes(path.read_bytes()[:-1000] if content is None else content)
    again, cached = kept_or_made(path, made)
    assert not cached
    np.testing.assert_array_equal(again.prediction, whole.prediction)
    assert kept_or_made(path, never)[1]


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path):
    (tmp_path / "file").write_text("in the way of a folder")
    bank, cached = kept_or_made(tmp_path / "file" / "demo-bank-0.pt", made)
    assert not cached
    assert bank.n_bytes > 0


def test_the_banks_read_longest_ago_go_first(tmp_path, monkeypatch):
    size = made().n_bytes
    monkeypatch.setattr(bank_file, "_MOST_BYTES", int(2.5 * size))
    paths = [tmp_path / f"demo-bank-{k}.pt" for k in range(3)]
    network = tmp_path / "demo-teacher-0.pt"
    network.write_bytes(b"0" * size)
    for age, path in zip((200, 100), paths, strict=False):
        kept_or_made(path, made)
        past(path, age)
    kept_or_made(paths[0], never)  # it is now the one read last
    kept_or_made(paths[2], made)
    assert [path.exists() for path in paths] == [True, False, True]
    assert network.exists()  # nothing but banks is ever removed
    monkeypatch.setattr(bank_file, "_MOST_BYTES", size - 1)
    larger = tmp_path / "demo-bank-larger.pt"
    kept_or_made(larger, made)
    assert not larger.exists()
    assert paths[0].exists()


def past(path: Path, seconds: float) -> None:
    told = path.stat()
    os.utime(path, (told.st_atime - seconds, told.st_mtime - seconds))


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    left, fresh = (tmp_path / f".few-bank-0.pt.{name}.tmp" for name in ("0a", "0b"))
    for path in (left, fresh):
        path.write_bytes(b"half")
    os.utime(left, (1.0, 1.0))
    kept_or_made(tmp_path / "few-bank-1.pt", made)
    assert [p.exists() for p in (left, fresh)] == [False, True]
