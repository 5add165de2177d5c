"""The live view on a real terminal: what it shows, and that it leaves nothing behind."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.search.terminal import Terminal

DRIVER = Path(__file__).with_name("driver.py")
ROOT = DRIVER.parents[2]


def search(output: Path, columns: int = 100, environment: dict[str, str] | None = None, **settings: Any) -> Terminal:
    words = [sys.executable, str(DRIVER), str(output), json.dumps({"concurrency": 2, **settings})]
    return Terminal(words, columns, environment={"PYTHONPATH": f"{DRIVER.parent}:{ROOT}", **(environment or {})})


@pytest.mark.slow
@pytest.mark.faults
def test_ctrl_c_leaves_a_clean_screen(tmp_path: Path) -> None:
    terminal = search(tmp_path / "run", trials=40, pause=0.3)
    wanted = (r"best so far", r"about .* left; CPU", r"best [\d.]+ \(trial \d+\)", r"\d+ of 40 trials: 2 running")
    seen = terminal.read_until(lambda raw: all(re.search(pattern, raw) for pattern in wanted))
    view = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
    assert re.search(r"\d+ of 40 trials: \d running, \d+ stopped, \d+ done", view)
    assert "hyperparameters" in view
    assert "%" in view
    terminal.type("\x03")
    assert terminal.wait() == 130
    screen = terminal.screen()
    assert "ending, everything is kept" in screen
    assert "search over (interrupted; --resume carries on)" in screen
    assert "running," not in screen  # the view is gone, and not in pieces
    assert "so far," not in screen
    # Every line that a plain terminal would have is there, whole.
    started = re.findall(r"^\[ *\d+:\d\d\] trial (\d+) started", screen, flags=re.MULTILINE)
    assert sorted(started, key=int) == [str(i) for i in range(len(started))]
    assert len(started) >= 2
    hidden = [m[0] for m in re.finditer(r"\x1b\[\?25[lh]", terminal.raw)]
    assert hidden[-1] == "\x1b[?25h"


@pytest.mark.slow
def test_a_narrow_terminal_without_colour(tmp_path: Path) -> None:
    terminal = search(tmp_path / "run", columns=44, environment={"NO_COLOR": "1"}, trials=4, pause=0.2)
    assert terminal.wait() == 0
    colours = [m for m in re.findall(r"\x1b\[([0-9;]*)m", terminal.raw) if m not in ("", "0", "1", "2")]
    assert colours == []
    assert "trials: " in terminal.raw
    assert "hyperparameters" not in terminal.raw
    drawn = [line for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.raw).splitlines() if "epoch  " in line]
    assert all(len(line) <= 44 for line in drawn)
    assert "running," not in terminal.screen()
    assert "search over: 4 of 4 trials ended" in terminal.screen()


@pytest.mark.slow
def test_a_dumb_terminal_gets_plain_lines(tmp_path: Path) -> None:
    terminal = search(tmp_path / "run", environment={"TERM": "dumb"}, trials=2)
    assert terminal.wait() == 0
    assert "\x1b" not in terminal.raw
    assert "search over: 2 of 2 trials ended" in terminal.raw
