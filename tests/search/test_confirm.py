from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from objectives import Bowl

from kdsearch.errors import UserError
from kdsearch.search.confirm import SeedRun, confirm
from kdsearch.search.record import Ranked
from kdsearch.search.settings import SearchSettings

pytestmark = pytest.mark.usefixtures("ray_here")


def candidate(number: int, x: float, rate: float = 0.9) -> Ranked:
    return Ranked(number, {"x": x, "rate": rate}, 0.0, "COMPLETE", 1, {})


def test_the_best_over_several_seeds_wins_and_nothing_is_trained_twice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = SearchSettings(tmp_path / "run", 1, 8, gpus_per_trial=0, concurrency=2)
    candidates = [candidate(7, 0.8), candidate(3, 0.3), candidate(5, 0.5, rate=1e6)]
    heard: list[tuple[int, SeedRun]] = []

    def hear(*event: Any) -> None:
        heard.append(event)
        if len(heard) == 3:
            raise KeyboardInterrupt  # as Ctrl-C would

    with pytest.raises(KeyboardInterrupt):
        confirm(Bowl(log=str(log)), candidates, (0, 1), settings, hear)
    found = confirm(Bowl(log=str(log)), candidates, (0, 1), settings, lambda n, run: heard.append((n, run)))

    assert [c.trial for c in found] == [3, 7, 5]  # a configuration with a failed seed comes last
    assert found[0].mean < found[1].mean
    assert math.isnan(found[2].mean)
    assert math.isnan(found[2].std)
    assert found[2].runs[0].error == "diverged in epoch 1"
    assert sorted((n, run.seed) for n, run in heard) == [(n, s) for n in (3, 5, 7) for s in (0, 1)]
    best = found[0]
    assert [run.seed for run in best.runs] == [0, 1]
    assert best.runs[0].score != best.runs[1].score  # seeds differ
    assert best.std > 0
    assert best.runs[0].score == best.runs[0].validation["mae_15"]
    assert 1 <= best.runs[0].epoch <= 8
    assert isinstance(best.runs[0].weights["w"], np.ndarray)
    np.testing.assert_allclose(best.runs[0].weights["w"], 0.3, atol=0.1)

    written = json.loads((tmp_path / "run" / "confirm.json").read_text())
    assert len(written) == 6
    lines = log.read_text()
    again = confirm(Bowl(log=str(log)), candidates[:2], (0, 1), settings)
    assert log.read_text() == lines  # all of it was kept
    np.testing.assert_array_equal(again[0].runs[1].weights["w"], best.runs[1].weights["w"])
    assert [c.mean for c in again] == [found[0].mean, found[1].mean]


def test_what_failed_for_want_of_memory_is_tried_again(tmp_path: Path) -> None:
    room, settings = tmp_path / "room", SearchSettings(tmp_path / "run", 1, 3, gpus_per_trial=0, concurrency=2)
    objective = Bowl(hungry_until=str(room))
    (short,) = confirm(objective, [candidate(3, 0.3)], (0, 1), settings)
    assert math.isnan(short.mean)
    assert all("MemoryError" in str(run.error) for run in short.runs)
    room.touch()
    (fed,) = confirm(objective, [candidate(3, 0.3)], (0, 1), settings)
    assert math.isfinite(fed.mean)


def test_nothing_to_confirm(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no trial of the search reached a finite score"):
        confirm(Bowl(), [], (0,), SearchSettings(tmp_path, 1, 1))
