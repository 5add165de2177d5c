"""Searches that are killed again and again, at random moments, and carried on."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kdsearch.contents import JOURNAL
from kdsearch.search.scheduler import Asha
from kdsearch.search.study import read_study
from kdsearch.search.trainable import unpack
from tests.faults.processes import alive, descendants, kill, wait, workers
from tests.faults.searches import Readers, begun, check_whole, epochs, search, to_the_end

LONG = pytest.mark.faults
# Epochs up to the second rung, so that one that is lost weighs little.
ASHA: dict[str, Any] = {"scheduler": "asha", "sampler": "tpe", "epochs": 27, "grace": 3, "pause": 0.1}


def saved(output: Path) -> dict[float, int]:
    """Of each trial under way, by its x, the epoch of its last state."""
    xs = {trial.number: trial.params.get("x") for trial in read_study(output).get_trials()}
    files = (output / ".trials").glob("*.pt")
    return {xs[int(file.stem)]: unpack(file.read_bytes())["epoch"] for file in files if xs[int(file.stem)] is not None}


def reports(output: Path) -> list[tuple[int, int, float]]:
    """Trial, epoch and score of every report in the order of the journal."""
    records = [json.loads(line) for line in (output / JOURNAL).read_text().splitlines()]
    return [(r["trial_id"], r["step"], r["intermediate_value"]) for r in records if "intermediate_value" in r]


def check_rungs(output: Path, cut: set[tuple[int, int]]) -> None:
    """The books, and every decision, are those of a scheduler that saw the same reports and was never killed.

    A report on which the search was killed may stand in the journal without its decision: its trial went on.
    """
    trials = {trial.number: trial for trial in read_study(output).get_trials()}
    asha = Asha(ASHA["epochs"], ASHA["grace"], 3)
    for number, epoch, score in reports(output):
        result = {"epoch": epoch, "score": score}
        decision = asha.on_trial_result(None, SimpleNamespace(config={"number": number}), result)
        if epoch >= ASHA["epochs"]:
            asha.on_trial_complete(None, SimpleNamespace(config={"number": number}), result)
        last = epoch == max(trials[number].intermediate_values)
        if decision == "STOP":
            assert last or (number, epoch) in cut, f"trial {number} went on after epoch {epoch}"
        else:
            assert not last, f"trial {number} was stopped after epoch {epoch}"
    assert json.loads(Path(f"{output}.rungs").read_text()) == json.loads(json.dumps(asha.rungs))


def campaign(output: Path, kills: int, trials: int, seed: int) -> None:
    """Kill the driver so many times, then let it end, and check everything."""
    rng = random.Random(seed)
    kept: list[tuple[int, dict[float, int]]] = []
    cut: set[tuple[int, int]] = set()
    with Readers(output) as readers:
        for number in range(kills):
            with search(output, trials=trials, resume=number > 0, **ASHA) as process:
                enough = len(epochs(output)) + rng.randint(0, 8)
                if number % 4 == 3:  # also while Ray starts or the journal is opened
                    time.sleep(rng.uniform(0.5, 6.0))
                else:
                    wait(
                        lambda enough=enough, process=process: (
                            len(epochs(output)) > enough or process.poll() is not None
                        )
                    )
                    time.sleep(rng.uniform(0.0, 0.3))
                assert process.poll() is None, "it ended before it could be killed: give it more trials"
                family = descendants(process.pid)
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                wait(lambda family=family: not alive(family))
            if (output / JOURNAL).exists():
                kept.append((len(begun(output)), saved(output) if (output / ".trials").exists() else {}))
                cut |= {
                    (t.number, max(t.intermediate_values))
                    for t in read_study(output).get_trials()
                    if t.state.name == "RUNNING" and t.intermediate_values
                }
        to_the_end(output, trials=trials, resume=True, **ASHA)
    readers.check()
    check_whole(output, trials)
    check_rungs(output, cut)
    # No trial goes back beyond its last state, nor is its state passed over.
    started = begun(output)
    for at, states in kept:
        for x, epoch in states.items():
            later = next((e for x_, e in started[at:] if x_ == x), None)
            assert later in (None, epoch + 1), f"the state of x={x} was of epoch {epoch}, and it went on with {later}"
    scores: dict[tuple[float, int], int] = Counter(started)
    work = len(started) / len(scores)
    print(f"{kills} kills, {trials} trials, {len(scores)} epochs: {len(started)} begun, {work:.3f} times the work")
    assert work <= 1.3


def test_killed_twice(tmp_path: Path) -> None:
    campaign(tmp_path / "run", kills=2, trials=6, seed=0)


@LONG
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1])
def test_killed_twenty_times(tmp_path: Path, seed: int) -> None:
    campaign(tmp_path / "run", kills=20, trials=60, seed=seed)


def hurt_workers(output: Path, trials: int, every_s: float, seed: int) -> int:
    """Kill a random worker of a trial every so many seconds, to the end of the search."""
    rng = random.Random(seed)
    killed = 0
    with search(output, trials=trials, **{**ASHA, "pause": 0.25}) as process:
        wait(lambda: len(epochs(output)) >= 2)
        while process.poll() is None:
            time.sleep(every_s * rng.uniform(0.5, 1.5))
            there = workers(process.pid)
            if there and process.poll() is None:
                kill(rng.choice(there))
                killed += 1
            if killed > 200:
                break
        text, _ = process.communicate(timeout=250)
    assert process.returncode == 0, text
    assert text.count("its worker died; it goes on in another") >= 1
    check_whole(output, trials)
    print(f"{killed} workers killed, {len(begun(output)) / len(set(begun(output))):.3f} times the work")
    return killed


@LONG
@pytest.mark.timeout(1800)
def test_workers_killed_every_few_seconds(tmp_path: Path) -> None:
    assert hurt_workers(tmp_path / "run", trials=16, every_s=4.0, seed=2) >= 5
