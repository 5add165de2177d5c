"""The command from end to end on a few sensors: what it writes, that it repeats itself, that a kill costs nothing."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kdsearch.search.settings import output_lock
from tests.conftest import ROOT

# One or two rows of every kind stay; the code of the rest is the same.
SKIPPED = (
    "ridge_ar,astgcn,rd_l2,rd_kl,skd,fitnet,at,nst,ord,tcd,scd,kdis-97,taylor-97,kdis-50,taylor-50,kdis-25,taylor-25,"
    "best-stcd,best-kdis-97,best-kdis-75"
)
DECLARATION = """
name = "few"
steps_per_day = 96

[speeds]
file = "few.npy"

[split]
train = 3
validation = 1
test = 1

[graph]
file = "distances.csv"
"""


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A declared dataset of four sensors."""
    folder = tmp_path_factory.mktemp("few")
    rng = np.random.default_rng(0)
    hours = np.arange(96)[None, :, None] / 4
    dip = 25 * np.exp(-((hours - 8) ** 2)) + 20 * np.exp(-((hours - 17) ** 2) / 2)
    speeds = 62 - dip * rng.uniform(0.5, 1.2, (5, 1, 4)) + rng.normal(scale=1.5, size=(5, 96, 4))
    np.save(folder / "few.npy", speeds.reshape(-1, 4).astype(np.float32))
    np.savetxt(folder / "distances.csv", 800.0 * abs(np.subtract.outer(range(4), range(4))), delimiter=",")
    (folder / "few.toml").write_text(DECLARATION)
    return folder


def arguments(few: Path, output: Path, cache: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "experiments.reproduce", "--dataset", str(few / "few.toml")),
        *("--output", str(output), "--cache-dir", str(cache), "--store", str(few / "store")),
        *("--seeds", "2", "--epochs", "3", "--teacher-epochs", "2", "--teacher-run-length", "20"),
        *("--timing-batch", "2", "--timing-runs", "2", "--dpi", "40", "--skip", SKIPPED, *more),
    ]


def environment() -> dict[str, str]:
    # Ray loads kdsearch in its workers before it knows where this process found it.
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}


def call(few: Path, output: Path, cache: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments(few, output, cache, *more),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def texts(folder: Path) -> dict[str, str]:
    """What a table consists of, without what a clock gave."""
    found = {p.name: p.read_text() for p in sorted(folder.glob("table*.*")) if p.suffix != ".png"}
    rows = list(csv.reader((folder / "trainings.csv").read_text().splitlines()))
    seconds = rows[0].index("seconds")
    found["trainings.csv"] = str([row[:seconds] + row[seconds + 1 :] for row in rows])
    return found


@pytest.fixture(scope="module")
def built(few: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("built")
    return folder / "out", folder / "cache", call(few, folder / "out", folder / "cache")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_everything_is_written(built):
    output, _, process = built
    assert process.returncode == 0, process.stderr
    names = {path.name for path in output.iterdir()}
    for number in range(1, 9):
        assert {f"table{number}.{form}" for form in ("csv", "md", "tex", "png")} <= names
    assert {"figure3.png", "figure4.png", "run.json", "trainings.csv", "table8-tests.csv"} <= names
    rows = list(csv.DictReader((output / "table4.csv").read_text().splitlines()))
    assert [row["models"] for row in rows][:2] == ["Copy last", "Historical average"]
    for row in rows:
        assert float(row["mae_45"]) > 0
        assert bool(row["mae_45_std"]) == ("Student" in row["models"])
    assert [row["parameters"] for row in rows if row["models"] == "Teacher"] != [""]
    trainings = list(csv.DictReader((output / "trainings.csv").read_text().splitlines()))
    # Every training of its full length, though each epoch is told to the driver.
    lengths = {row["epochs"] for row in trainings if row["training"].startswith(("stcd", "kdis", "taylor"))}
    assert lengths == {"3"}
    (kept,) = {row["kept"] for row in csv.DictReader((output / "table8.csv").read_text().splitlines())} - {"100.0"}
    assert abs(float(kept) - 25) < 5


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_same_command_gives_the_same_from_the_cache(few, built):
    output, cache, _ = built
    before = texts(output)
    again = call(few, output, cache, "--resume")
    assert again.returncode == 0, again.stderr
    assert re.search(r"(\d+) trainings: \1 in the cache, 0 to do", again.stdout)
    assert texts(output) == before


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.faults
def test_a_kill_costs_nothing_that_was_done(few, built, tmp_path):
    output, cache = tmp_path / "out", tmp_path / "cache"
    process = subprocess.Popen(
        arguments(few, output, cache), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if re.search(r"\] 4 of \d+: ", line):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(2.0)  # Ray's workers end with their driver
    done = {p: p.stat().st_mtime_ns for p in (cache / "reproduce").glob("*.pt")}
    assert 4 <= len(done) < 12
    again = call(few, output, cache, "--resume")
    assert again.returncode == 0, again.stderr
    assert f"{len(done)} in the cache" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in done} == done
    ours, others = texts(output), texts(built[0])
    for name in ("table1.csv", "table1.md", "table1.tex"):  # times
        ours.pop(name), others.pop(name)
    assert ours == others


def test_another_run_is_not_resumed(few, tmp_path):
    (tmp_path / "out").mkdir()
    nothing = call(few, tmp_path / "out", tmp_path / "cache", "--tables", "2", "--figures", "none", "--resume")
    assert nothing.returncode == 2
    assert "nothing was begun" in nothing.stderr
    first = call(few, tmp_path / "out", tmp_path / "cache", "--tables", "2", "--figures", "none")
    assert first.returncode == 0, first.stderr
    other = call(few, tmp_path / "out", tmp_path / "cache", "--tables", "2", "--resume", "--seed", "7")
    assert other.returncode == 2
    assert "seed 0, not 7" in other.stderr
    with output_lock(tmp_path / "out"):
        second = call(few, tmp_path / "out", tmp_path / "cache", "--tables", "2", "--figures", "none")
    assert second.returncode == 2
    assert "is running in" in second.stderr


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--tables", "9"], "there is no 9"),
        (["--tables", "one"], "wants numbers such as"),
        (["--skip", "stdc"], "did you mean stcd?"),
        (["--tables", "none", "--figures", "none"], "nothing is asked for"),
        (["--dataset", "nowhere.toml"], "nowhere.toml"),
        (["--output", "s3://bucket/tables"], "not the address s3://bucket/tables"),
        (["--seed", "99999999999999999999"], "99999999999999999999"),
    ],
)
def test_mistakes_are_one_sentence(given, told, tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "experiments.reproduce", "--output", str(tmp_path), *given],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert process.returncode == 2
    assert told in process.stderr
    assert len(process.stderr.strip().splitlines()) == 1
