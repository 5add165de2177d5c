from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest

from kdsearch.search.progress import Progress, can_redraw, figures, span
from kdsearch.search.record import Ranked
from kdsearch.search.remaining import Course
from kdsearch.search.report import Report
from kdsearch.search.settings import SearchResult


def play(stream: io.StringIO, live: bool) -> str:
    progress = Progress(stream, live=live, course=Course(9, 1, 3))
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


def test_best_so_far_is_better_than_what_is_under_way() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    for number in range(2):
        progress.on_trial_start(number, {}, 0)
    progress.on_epoch(0, {}, Report(5, 3.1, best_score=3.1))
    progress.on_trial_end(1, "PRUNED", {}, 3.2, {}, Report(5))
    assert stream.getvalue().splitlines()[-1].endswith("trial 1 stopped after 5 epochs: score 3.2")
    progress.on_trial_end(0, "COMPLETE", {}, 3.0, {}, Report(9))
    assert stream.getvalue().splitlines()[-1].endswith("trial 0 finished after 9 epochs: score 3, the best so far")


def test_spans() -> None:
    assert [span(s) for s in (0.4, 59, 61, 3600 * 2 + 300)] == ["0 s", "59 s", "1 min 1 s", "2 h 5 min"]


def test_verbose_has_a_line_an_epoch() -> None:
    stream = io.StringIO()
    progress = Progress(stream, verbose=True)
    progress.on_trial_start(2, {}, 0)
    progress.on_epoch(2, {}, Report(1, 3.25, {}, {"response": 0.5, "spatial": 0.125}, 1e-3, 1.5, best_score=3.25))
    assert (
        stream.getvalue()
        .splitlines()[-1]
        .endswith("trial 2 epoch 1: score 3.25, best 3.25, response=0.5 spatial=0.125, rate 0.001, 1.50 s")
    )


def test_figures_of_the_best() -> None:
    found = {"mae_15": 2.5, "mae_45": 4.4, "mae_30": 3.5, "rmse_15": 9.0}
    assert figures(found) == "MAE 2.50 / 3.50 / 4.40 at 15 / 30 / 45 min"
    assert figures({}) == ""


def test_what_can_be_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    assert can_redraw(Screen())
    assert not can_redraw(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not can_redraw(Screen())


def test_drawing_costs_a_small_share_of_its_second() -> None:
    progress = Progress(io.StringIO(), live=True, course=Course(50, 5, 3))
    progress.on_search_start(64, 0, 16)
    params = {"batch_size": 50, "learning_rate": 0.00123, "alpha1": 0.17, "alpha2": 0.047, "alpha3": 0.313}
    for number in range(16):
        progress.on_trial_start(number, params, 0)
        progress.on_epoch(number, params, Report(1, 3.25, best_score=3.25))
    live = progress._live
    assert live is not None
    costs = []
    for _ in range(10):
        began = time.process_time()
        live.refresh()
        costs.append(time.process_time() - began)
    progress.close()
    assert sorted(costs)[5] < 0.05
    print(f"a drawing takes {1e3 * sorted(costs)[5]:.1f} ms")


def test_a_terminal_shows_what_is_trained_before_and_after_the_search() -> None:
    stream = io.StringIO()
    progress = Progress(stream, live=True)
    progress.on_work("teacher: epoch 2 of 9, best 3.141 mph", 120.0)
    live = progress._live
    assert live is not None
    live.refresh()
    progress.on_work(None)
    live.refresh()
    progress.on_search_start(1, 0, 1)
    live.refresh()
    progress.on_search_end(SearchResult(Path(), 1, 1, 0, 0, 0, None, 1.0, 0.0, []))
    progress.on_work("confirm: 1 of 2 trainings done")
    assert progress._live is not None
    progress._live.refresh()
    progress.close()
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert re.search(r"teacher: epoch 2 of 9, best 3.141 mph\s+\d s so far, about (2 min 0 s|1 min \d+ s) left", seen)
    assert "0 of 1 trials" in seen
    assert "0 of 1 trials" not in seen[seen.index("search over") :]
    assert "confirm: 1 of 2 trainings done" in seen


def test_long_hyperparameters_leave_the_figures_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream = io.StringIO()
    progress = Progress(stream, live=True, course=Course(9, 1, 3))
    progress.on_search_start(4, 0, 2)
    progress.on_trial_start(0, {f"a_long_name_{i}": 0.123456 for i in range(9)}, 0)
    assert progress._live is not None
    progress._live.refresh()
    progress.close()
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert re.search(r"trial +epoch +score +best +hyperparameters", seen)
    assert re.search(r"    0 +0/9 .*a_long_name_0=0.1235 .*…", seen)


def test_without_a_terminal_only_lines_tell_of_it() -> None:
    stream = io.StringIO()
    progress = Progress(stream, live=False)
    progress.on_work("teacher: epoch 2 of 9")
    progress.close()
    assert stream.getvalue() == ""
