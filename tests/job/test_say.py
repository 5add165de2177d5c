"""What the main job tells of trainings: lines to a function, and what is under way to who can show it."""

from __future__ import annotations

import math

from kdsearch.job.say import Speaker, Told, Trainings
from kdsearch.training.report import EpochReport
from kdsearch.training.settings import FitSettings


def epoch(number: int, score: float, seconds: float, best: float) -> EpochReport:
    return EpochReport(number, score, {}, {}, 1e-3, seconds, best_score=best)


def test_lines_come_at_most_twice_a_minute_and_work_every_epoch() -> None:
    lines: list[str] = []
    work: list[tuple[str | None, float | None]] = []
    with Told(
        Speaker(lines.append, lambda text, left_s=None: work.append((text, left_s))), "teacher", FitSettings(epochs=4)
    ) as told:
        for number, (score, best) in enumerate(((4.0, 4.0), (3.0, 3.0), (3.5, 3.0), (3.6, 3.0)), start=1):
            told(epoch(number, score, 16.0, best))
    assert [line.split(",")[0] for line in lines] == ["teacher: epoch 1 of 4", "teacher: epoch 3 of 4"]
    assert work == [
        ("teacher: epoch 1 of 4", None),
        ("teacher: epoch 2 of 4, best 4.000 mph", 48.0),
        ("teacher: epoch 3 of 4, best 3.000 mph", 32.0),
        ("teacher: epoch 4 of 4, best 3.000 mph", 16.0),
        (None, None),
    ]


def test_a_plain_function_gets_the_lines_alone() -> None:
    lines: list[str] = []
    with Told(lines.append, "teacher", FitSettings(epochs=2)) as told:
        told(epoch(1, 4.0, 100.0, 4.0))
    assert lines == ["teacher: epoch 1 of 2, validation 4.000, best 4.000, about 2 min left"]


def test_time_left_knows_that_epochs_through_the_roll_out_cost_more() -> None:
    """Of a teacher: two of 20 seconds behind it, one like them and two of 220 before it."""
    lines: list[str] = []
    staged = FitSettings(epochs=5, run_length=10, rollout_steps=9, rollout_start=3)
    with Told(lines.append, "teacher", staged) as told:
        told(epoch(1, 4.0, 20.0, 4.0))
        told(epoch(2, 3.0, 20.0, 3.0))
        told(epoch(3, 3.0, 20.0, 3.0))
        told(epoch(4, 3.0, 220.0, 3.0))
    assert [line.rsplit(", ", 1)[1] for line in lines] == ["about 8 min left", "about 7 min left", "about 4 min left"]


def test_no_best_is_told_before_an_epoch_counts() -> None:
    """As of a network that is still being pruned."""
    lines: list[str] = []
    with Told(lines.append, "student", FitSettings(epochs=2)) as told:
        told(epoch(1, 4.0, 100.0, math.inf))
    assert lines == ["student: epoch 1 of 2, validation 4.000, about 2 min left"]


def test_trainings_are_counted() -> None:
    work: list[str | None] = []
    with Trainings(Speaker(print, lambda text, left_s=None: work.append(text)), "confirm", 2) as trainings:
        trainings.one_ended()
        trainings.one_ended()
    assert work == [f"confirm: {k} of 2 trainings done" for k in range(3)] + [None]
