"""What tests of every room share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kdsearch.data import Dataset, load

ROOT = Path(__file__).resolve().parents[1]
DECLARATIONS = ROOT / "experiments" / "datasets"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-messages", action="store_true", help="write tests/faults/messages.txt anew")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real pieces: KDSEARCH_DATA, else ../shared/data beside the repository."""
    given = os.environ.get("KDSEARCH_DATA")
    for folder in [Path(given)] if given else [ROOT.parent / "shared" / "data"]:
        if (folder / "pemsd7-week" / "PeMSD7_V_228.csv").is_file():
            return folder
    pytest.skip("the real pieces are in neither KDSEARCH_DATA nor ../shared/data")


@pytest.fixture(scope="session")
def demo() -> Dataset:
    """The built-in dataset."""
    return load("demo")
