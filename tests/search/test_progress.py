from __future__ import annotations

import io
import re
from pathlib import Path

from kdsearch.search.progress import Progress, span
from kdsearch.search.record import Ranked
from kdsearch.search.report import Report
from kdsearch.search.settings import SearchResult


def play(stream: io.StringIO, live: bool) -> str:
    progress = Progress(stream, live=live, epochs=9)
    params = {"batch_size": 50, "alpha1": 0.123456}
    progress.on_search_start(4, 0, 2)
    progress.on_trial_start(0, params, 0)
    progress.on_trial_start(1, params, 3)
    progress.on_epoch(0, params, Report(1, 3.25, best_score=3.25))
    progress.on_trial_end(0, "COMPLETE", params, 3.14159, {}, Report(9))
    progress.on_trial_end(1, "PRUNED", params, 4.0, {}, Report(1))
    progress.on_trial_start(2, params, 0)
    progress.on_trial_end(2, "FAIL", params, None, {}, Report(2, error="ValueError: [red]no"))
    progress.on_trial_start(3, params, 0)
    progress.on_trial_end(3, "COMPLETE", params, 2.5, {}, Report(9))
    best = Ranked(3, params, 2.5, "COMPLETE", 9, {})
    progress.on_search_end(SearchResult(Path(), 4, 2, 1, 1, 0, None, 200.0, 0.0, [best]))
    return stream.getvalue()


LINES = [
    "search of 4 trials, 2 at once",
    "trial 0 started: batch_size=50 alpha1=0.1235",
    "trial 1 goes on after epoch 3: batch_size=50 alpha1=0.1235",
    "trial 0 finished after 9 epochs: score 3.142, the best so far",
    "trial 1 stopped after 1 epoch: score 4",
    "trial 2 started: batch_size=50 alpha1=0.1235",
    "trial 2 failed after 2 epochs: ValueError: [red]no",
    "trial 3 started: batch_size=50 alpha1=0.1235",
    "trial 3 finished after 9 epochs: score 2.5, the best so far",
    "search over: 4 of 4 trials ended (2 complete, 1 stopped early, 1 failed) in 3 min 20 s; best score 2.5 (trial 3)",
]


def test_a_line_an_event() -> None:
    lines = play(io.StringIO(), live=False).splitlines()
    assert [re.sub(r"^\[ *\d+:\d\d\] ", "", line) for line in lines] == LINES


def test_a_terminal_has_the_lines_too_and_a_table() -> None:
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", play(io.StringIO(), live=True))
    for line in LINES:
        assert line in text
    assert "hyperparameters" in text


def test_spans() -> None:
    assert [span(s) for s in (0.4, 59, 61, 3600 * 2 + 300)] == ["0 s", "59 s", "1 min 1 s", "2 h 5 min"]
