from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

from kdsearch.results.tensorboard import TensorBoard, tag_of
from kdsearch.search.report import Report

PARAMS = {"batch_size": 50, "learning_rate": 1e-3, "alpha1": 0.17}
MAES = {"mae_15": 2.5, "mae_30": 3.5, "mae_45": 4.5}


def report(epoch: int, score: float, best: float) -> Report:
    return Report(
        epoch=epoch,
        score=score,
        validation=MAES,
        losses={"total": 0.4, "spatial": 0.1, "teacher_share": 0.3},
        learning_rate=1e-3,
        seconds=1.5,
        best_score=best,
    )


def runs(output: Path) -> dict[str, EventAccumulator]:
    found = {folder.name.split(" ")[0]: EventAccumulator(str(folder)) for folder in (output / "tensorboard").iterdir()}
    for run in found.values():
        run.Reload()
    return found


def hparams(run: EventAccumulator, tag: str) -> plugin_data_pb2.HParamsPluginData:
    content = run.SummaryMetadata(tag).plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def values(run: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value)) for event in run.Scalars(tag)]


def test_a_trial_is_a_run_with_readable_tags(tmp_path):
    board = TensorBoard(tmp_path)
    board.on_search_start(wanted=2, finished=0, concurrency=1)
    board.on_epoch(7, PARAMS, report(1, 3.0, 3.0))
    board.on_epoch(7, PARAMS, report(2, 3.2, 3.0))
    # Read before anything is closed: the display is live.
    run = runs(tmp_path)["trial-0007"]
    assert set(run.Tags()["scalars"]) == {
        "validation/score",
        "validation/mae 15 min",
        "validation/mae 30 min",
        "validation/mae 45 min",
        "loss/total",
        "loss/spatial",
        "attention to teacher",
        "learning rate",
        "seconds an epoch",
        "best/score",
    }
    assert values(run, "validation/score") == [(1, 3.0), (2, 3.2)]
    assert values(run, "best/score") == [(1, 3.0), (2, 3.0)]
    assert (tmp_path / "tensorboard" / "trial-0007 batch_size=50 learning_rate=0.001 alpha1=0.17").is_dir()


def test_hparams_stand_in_the_trials_own_run_with_its_best_value(tmp_path):
    board = TensorBoard(tmp_path)
    board.on_epoch(0, PARAMS, report(1, 3.0, 3.0))
    board.on_epoch(0, PARAMS, report(2, 3.4, 3.0))
    board.on_trial_end(0, "PRUNED", PARAMS, 3.0, MAES)
    board.on_epoch(1, PARAMS, report(1, math.nan, math.inf))
    board.on_trial_end(1, "FAIL", PARAMS, None, {})
    board.on_search_end()
    found = runs(tmp_path)
    assert set(found) == {"search", "trial-0000", "trial-0001"}

    started = hparams(found["trial-0000"], metadata.SESSION_START_INFO_TAG).session_start_info
    assert {name: value.number_value for name, value in started.hparams.items()} == PARAMS
    experiment = hparams(found["search"], metadata.EXPERIMENT_TAG).experiment
    assert {info.name for info in experiment.hparam_infos} == set(PARAMS)
    metric, *errors = experiment.metric_infos
    assert [info.name.tag for info in errors] == ["best/mae 15 min", "best/mae 30 min", "best/mae 45 min"]
    assert values(found["trial-0000"], metric.name.tag)[-1] == (2, 3.0)
    assert values(found["trial-0000"], "best/mae 45 min") == [(2, 4.5)]

    status = {
        name: hparams(found[name], metadata.SESSION_END_INFO_TAG).session_end_info.status
        for name in found
        if "-" in name
    }
    assert status == {"trial-0000": api_pb2.STATUS_SUCCESS, "trial-0001": api_pb2.STATUS_FAILURE}
    assert metric.name.tag not in found["trial-0001"].Tags()["scalars"]
    assert values(found["search"], "search/best score")[-1] == (2, 3.0)


def test_a_trial_carried_on_goes_on_in_its_run(tmp_path):
    first = TensorBoard(tmp_path)
    for epoch in range(1, 6):
        first.on_epoch(3, PARAMS, report(epoch, 3.0, 3.0))
    # The driver was killed here; the trial resumes from its third epoch.
    second = TensorBoard(tmp_path, best_score=2.0)
    second.on_search_start(wanted=8, finished=4, concurrency=1)
    for epoch in range(4, 8):
        second.on_epoch(3, PARAMS, report(epoch, 2.5, 2.5))
    second.on_trial_end(3, "COMPLETE", PARAMS, 2.5, MAES)
    second.on_search_end()
    found = runs(tmp_path)
    assert set(found) == {"search", "trial-0003"}
    assert values(found["trial-0003"], "validation/score") == [
        *((epoch, 3.0) for epoch in (1, 2, 3)),
        *((epoch, 2.5) for epoch in (4, 5, 6, 7)),
    ]
    assert values(found["trial-0003"], "best/score")[-1] == (7, 2.5)
    assert values(found["search"], "search/best score") == [(5, 2.0)]


def test_trials_with_numbers_that_begin_alike_are_kept_apart(tmp_path):
    for number in (10000, 1000):
        board = TensorBoard(tmp_path)
        board.on_epoch(number, {}, report(1, 3.0, 3.0))
        board.on_search_end()
    assert set(runs(tmp_path)) == {"search", "trial-1000", "trial-10000"}


def test_a_folder_that_cannot_be_written_does_not_end_the_search(tmp_path):
    (tmp_path / "tensorboard").write_text("in the way")
    board = TensorBoard(tmp_path)
    board.on_epoch(0, PARAMS, report(1, 3.0, 3.0))
    board.on_trial_end(0, "COMPLETE", PARAMS, 3.0, MAES)
    board.on_search_end()
    assert board.broken is not None
    assert "tensorboard" in board.broken


def test_tags_are_readable():
    assert [tag_of(name) for name in ("mae_15", "rmse_45", "score", "_15")] == [
        "mae 15 min",
        "rmse 45 min",
        "score",
        "_15",
    ]


def test_the_writer_needs_no_torch():
    code = "import sys, kdsearch.results.tensorboard; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_importance_of_every_stage_as_a_histogram(tmp_path):
    stage = {"limits": (1e-6, 1e-5, 1e-4), "counts": (1, 0, 3), "count": 5, "zeros": 1}
    alike = {"limits": (0.01, 0.01), "counts": (0, 2), "count": 2, "zeros": 0}
    board = TensorBoard(tmp_path)
    first = report(1, 3.0, 3.0)
    first.histograms = {"importance block1.mid": [(50, stage), (100, stage)], "importance head.glu": [(50, alike)]}
    board.on_epoch(7, PARAMS, first)
    again = report(1, 3.0, 3.0)  # the epoch is repeated after a crash: nothing is shown twice
    again.histograms = first.histograms
    TensorBoard(tmp_path).on_epoch(7, PARAMS, again)
    (folder,) = (tmp_path / "tensorboard").glob("trial-0007*/stages")
    run = EventAccumulator(str(folder), size_guidance={"histograms": 0})
    run.Reload()
    assert run.Tags()["histograms"] == ["log10 importance block1.mid", "log10 importance head.glu"]
    shown = run.Histograms("log10 importance block1.mid")
    assert [event.step for event in shown] == [50, 100]
    assert shown[0].histogram_value.bucket_limit == pytest.approx([-6, -5, -4])
    assert shown[0].histogram_value.bucket == [1, 0, 3]
    assert shown[0].histogram_value.min == pytest.approx(-7)
    (event,) = run.Histograms("log10 importance head.glu")
    assert event.histogram_value.num == 2
    assert event.histogram_value.min < event.histogram_value.max
