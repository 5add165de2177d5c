"""The journal opens in optuna-dashboard as it is."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.results.searches import SPACE, make_search

pytestmark = pytest.mark.slow


def ask(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return json.load(answer)


@pytest.mark.parametrize("costs", [False, True])
def test_the_dashboard_shows_the_trials(tmp_path: Path, costs: bool) -> None:
    pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed (pip install -e .[dev])")
    study = make_search(tmp_path, costs=costs, setup={"cost": "parameters"})
    before = (tmp_path / "study.journal").read_bytes()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    where = [str(tmp_path / "study.journal"), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(240):
            try:
                (summary,) = ask(port, "/api/studies")["study_summaries"]
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.25)
        shown = ask(port, f"/api/studies/{summary['study_id']}?after=0")
    finally:
        process.terminate()
        process.wait(30)
    assert summary["directions"] == ["minimize"] * (2 if costs else 1)
    states = [t["state"].upper() for t in shown["trials"]]
    assert states == [{"PRUNED": "PRUNED", "COMPLETE": "COMPLETE", "FAIL": "FAIL"}[t.state.name] for t in study.trials]
    assert {p["name"] for p in shown["trials"][0]["params"]} == set(SPACE)
    assert shown["objective_names"] == ["validation MAE (mph)", "parameters"][: 2 if costs else 1]
    assert (tmp_path / "study.journal").read_bytes() == before
