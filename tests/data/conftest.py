"""Small datasets on disk and in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdsearch.data import Dataset, Split

GRAPH = "0,1000,inf\n1000,0,2000\ninf,2000,0\n"
TOML = """
name = "corner"
steps_per_day = 24
[speeds]
file = "speeds.csv"
[split]
train = 2
validation = 1
test = 1
[graph]
file = "graph.csv"
"""


def some_speeds(days: int, steps: int, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(5, 75, size=(days, steps, n)).round(1).astype(np.float32)


def make_dataset(speeds: np.ndarray, split: tuple[int, int, int] = (2, 1, 1), name: str = "small") -> Dataset:
    n = speeds.shape[2]
    return Dataset(name, speeds, np.eye(n)[::-1] * (1 - np.eye(n)), Split(*split), "default")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A declared dataset of three sensors and four days of 24 steps."""
    np.savetxt(tmp_path / "speeds.csv", some_speeds(4, 24, 3).reshape(-1, 3), delimiter=",", fmt="%.1f")
    (tmp_path / "graph.csv").write_text(GRAPH)
    (tmp_path / "corner.toml").write_text(TOML)
    return tmp_path


@pytest.fixture
def declare(folder: Path) -> Callable[[str, str], Path]:
    """Replace one piece of the declaration (add it at the top if the piece to replace is empty)."""

    def edit(old: str, new: str) -> Path:
        assert old in TOML
        text = TOML.replace(old, new, 1) if old else new + "\n" + TOML
        path = folder / "corner.toml"
        path.write_text(text)
        return path

    return edit
