"""Simulated readings of any size are a dataset as any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.simulated import main
from kdsearch import command
from kdsearch.data import load
from kdsearch.data.simulate import simulate


def test_what_is_written_is_what_was_simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(main, ["--sensors", "9", "--days", "18", "--seed", "3", "--output", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("*.toml")
    assert capsys.readouterr().out == f"python -m kdsearch.tune --dataset {path}\n"
    found, made = load(path), simulate(9, 18, 3)
    np.testing.assert_array_equal(found.speeds, made.speeds)
    np.testing.assert_allclose(found.distances, made.distances, atol=0.1)
    assert (found.split.train, found.split.validation, found.split.test) == (14, 2, 2)
    assert found.notes == ()


@pytest.mark.parametrize(("given", "says"), [(["--days", "2"], "wants 3 or more"), (["--output", ""], "wants a path")])
def test_refused(given: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(main, given) == 2
    assert says in capsys.readouterr().err
