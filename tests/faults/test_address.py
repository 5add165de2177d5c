"""A search behind an address, killed, and carried on from another machine: one whose cache and folder are empty."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from kdsearch.search.study import read_study
from kdsearch.training.checkpoint import load_checkpoint
from tests.conftest import ROOT
from tests.faults.bad_calls import sound
from tests.faults.processes import alive, descendants, wait

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

LENGTHS = "--dataset corner.toml --space space.toml --teacher-epochs 3 --epochs 12 --trials 12 --confirm 2x2"


@contextmanager
def job(folder: Path, machine: str, *arguments: str, address: str | None = None) -> Iterator[subprocess.Popen[str]]:
    """The whole command, on a machine with a cache of its own; all share the bucket, ``bucket/run`` of the folder."""
    for name, content in sound().items():
        (folder / name).write_text(str(content))
    address = address or (folder / "bucket" / "run").as_uri()
    own = f"--output {address} --cache-dir {machine}/cache --store {machine}/store"
    with subprocess.Popen(
        [sys.executable, "-m", "kdsearch.tune", *LENGTHS.split(), *own.split(), *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(bucket: Path) -> dict[int, object]:
    """Trials behind the address that have ended: number and when."""
    if not (bucket / "study.journal").exists():
        return {}
    return {t.number: t.datetime_complete for t in read_study(bucket).get_trials() if t.state.is_finished()}


def said(process: subprocess.Popen[str], code: int = 0) -> str:
    text, _ = process.communicate(timeout=1200)
    assert process.returncode == code, text
    assert "Traceback" not in text
    return text


def test_killed_and_carried_on_from_other_machines(tmp_path: Path) -> None:
    bucket = tmp_path / "bucket" / "run"
    with job(tmp_path, "one") as process:
        wait(lambda: len(ended(bucket)) >= 2 or process.poll() is not None, 900)
        assert process.poll() is None, process.communicate()[0]
        family = descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    wait(lambda: not alive(family), 300)
    before = ended(bucket)
    shutil.rmtree(tmp_path / "one")

    with job(tmp_path, "two") as process:
        assert "already holds a search: carry on with --resume" in said(process, 2)
    with job(tmp_path, "two", "--resume", "--trials", "4") as process:
        text = said(process)
    assert "was being written by another search: waiting " in text
    assert "teacher: from the cache" in text
    assert f"everything is in {bucket.as_uri()}: " in text
    after = ended(bucket)
    assert {number: after[number] for number in before} == before
    best = (bucket / "best.json").read_bytes()
    shutil.rmtree(tmp_path / "two")

    # Once more elsewhere: nothing is missing, so nothing is trained, not even for the confirmation.
    with job(tmp_path, "three", "--resume", "--trials", "4") as process:
        text = said(process)
    assert "by another search" not in text  # the one before left in good order
    assert "trained in" not in text
    assert text.count("confirm: trial") == 0
    assert ended(bucket) == after
    assert json.loads((bucket / "best.json").read_bytes())["validation"] == json.loads(best)["validation"]
    assert load_checkpoint(bucket / "checkpoints" / "best.pt").dataset == "corner"
    assert set(after) <= set(pd.read_parquet(bucket / "trials.parquet")["number"])
    assert not (bucket / ".writer").exists()

    for command in ("report --output {} --file page.html", "export --output {} --table comparison", "compare {}"):
        arguments = command.format(bucket.as_uri()).split()
        done = subprocess.run(
            [sys.executable, "-m", f"kdsearch.{arguments[0]}", *arguments[1:]],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
    assert "run" in done.stdout
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_an_interrupt_leaves_all_of_it_there(tmp_path: Path) -> None:
    bucket = tmp_path / "bucket" / "run"
    with job(tmp_path, "one") as process:
        wait(lambda: len(ended(bucket)) >= 1 or process.poll() is not None, 900)
        process.send_signal(signal.SIGTERM)
        text = said(process, 130)
    assert "carry on with: python -m kdsearch.tune" in text
    (folder,) = (tmp_path / "one" / "cache" / "outputs").iterdir()
    for name in ("study.journal", "trials.parquet"):
        assert (bucket / name).read_bytes() == (folder / name).read_bytes()
    states = [{path.name for path in (where / ".trials").glob("*.pt")} for where in (bucket, folder)]
    assert states[0] == states[1]
