"""A declared dataset of a few sensors, where whole searches that prune large networks do not take minutes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kdsearch import command, tune
from kdsearch.data.simulate import simulate

NAME = "few"
_SENSORS, _DAYS = 8, 6
_TOML = f"""\
name = "{NAME}"
space = "demo"

[speeds]
file = "{NAME}.npy"

[graph]
file = "distances.csv"

[split]
train = 4
validation = 1
test = 1
"""


def declare(folder: Path) -> Path:
    """Write the dataset; its declaration."""
    made = simulate(_SENSORS, _DAYS, seed=3)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{NAME}.npy", made.speeds.reshape(-1, _SENSORS))
    np.savetxt(folder / "distances.csv", made.distances, delimiter=",")
    path = folder / f"{NAME}.toml"
    path.write_text(_TOML)
    return path


def assert_refused(arguments: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong call of tune is one sentence, and leaves nothing in the folder it is called from."""
    assert command.run(tune.main, arguments.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not list(Path().iterdir())
