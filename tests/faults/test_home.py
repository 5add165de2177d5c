"""What lies about on a machine: a home that cannot be written to, an address that was meant for something else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kdsearch.search.session import AUTHENTICATION
from tests.faults.searches import check_whole, environment, search

NOWHERE = "/dev/null/home"


@pytest.fixture(autouse=True)
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has said anything about tokens."""
    for name in AUTHENTICATION:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("home", [NOWHERE, "home"])
def test_a_search_leaves_the_home_alone(tmp_path: Path, home: str) -> None:
    """Ray would keep a token there, or fail for want of one; a cluster elsewhere is not joined unasked."""
    path = Path(home) if os.path.isabs(home) else tmp_path / home
    env = environment(HOME=str(path), RAY_ADDRESS="127.0.0.1:9")
    with search(tmp_path / "run", env=env, trials=2, epochs=2) as process:
        text, _ = process.communicate(timeout=250)
    assert process.returncode == 0, text
    check_whole(tmp_path / "run", 2)
    assert not (path / ".ray").exists()
