"""Bad luck inside trials: each ends as it should, tells why, and costs no other trial anything."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from kdsearch.search.study import ALONE, outcome, read_study
from tests.faults.searches import begun, check_whole, search, to_the_end

# x of the known points, by what happens there (see trouble.LUCK).
WELL, LOSES, DIES, RAISES, NAN, BESIDE, MEMORY, HANGS = 0.1, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95
ALL = [BESIDE, HANGS, LOSES, DIES, RAISES, NAN, MEMORY, WELL, 0.2]


def test_every_misfortune_in_one_search(tmp_path: Path) -> None:
    output = tmp_path / "run"
    arguments = {"known": ALL, "trials": len(ALL), "epochs": 4, "scheduler": "none", "pause": 0.2, "luck": True}
    text = to_the_end(output, trial_timeout_s=15.0, **arguments)
    check_whole(output, len(ALL), may_fail=True)
    trials = {trial.params["x"]: trial for trial in read_study(output).get_trials()}
    error = {x: outcome(trial)["error"] for x, trial in trials.items()}
    state = {x: trial.state.name for x, trial in trials.items()}
    assert {x for x, s in state.items() if s == "COMPLETE"} == {WELL, 0.2, LOSES, BESIDE}, error
    assert error[HANGS] == "hung: no epoch ended within 15 s"
    assert error[RAISES] == "RuntimeError: the bowl broke"
    assert error[NAN] == "diverged in epoch 2"
    assert error[DIES] == "its worker died"
    assert "can't allocate memory" in error[MEMORY]
    # Those that wanted memory, or died for whatever reason, were tried once more alone; nothing else was.
    assert {x for x, trial in trials.items() if ALONE in trial.user_attrs} == {BESIDE, MEMORY, DIES}
    assert text.count("it is tried once more, alone, after the others") == 3
    second = {x: [epoch for x_, epoch in begun(output) if x_ == x].count(2) for x in ALL}
    assert second == {LOSES: 2, BESIDE: 2, MEMORY: 2, DIES: 4, HANGS: 1, RAISES: 1, NAN: 1, WELL: 1, 0.2: 1}
    # Nothing ran beside a trial that had its second try: those came last.
    began = begun(output)
    others = max(i for i, (x, _) in enumerate(began) if x not in (BESIDE, MEMORY, DIES))
    assert all(max(i for i, at in enumerate(began) if at == (x, 2)) > others for x in (BESIDE, MEMORY, DIES))
    table = pd.read_parquet(output / "trials.parquet")
    assert set(table["error"].dropna()) == {e for e in error.values() if e}
    assert "Traceback" not in text


@pytest.mark.faults
def test_a_second_try_outlives_the_search(tmp_path: Path) -> None:
    """Killed between the two tries, the search goes on with the second, still alone."""
    output = tmp_path / "run"
    arguments = {"known": [BESIDE, WELL], "trials": 2, "epochs": 4, "scheduler": "none", "pause": 0.5, "luck": True}
    with search(output, **arguments) as process:
        assert process.stdout is not None
        line = next((line for line in process.stdout if "once more, alone" in line), None)
        assert line is not None
        process.kill()
        process.wait()
    text = to_the_end(output, resume=True, **arguments)
    check_whole(output, 2)
    assert "once more" not in text
