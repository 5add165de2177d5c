"""The picture of a finished search: what is read for it, and that it is drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch

from experiments import picture
from kdsearch.data import Dataset
from kdsearch.errors import UserError
from kdsearch.models.stgcn import STUDENT
from kdsearch.search.study import open_study
from kdsearch.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from kdsearch.training.network import new_network

TRIALS = {0: ("COMPLETE", [5.0, 5.5, 4.0]), 1: ("PRUNED", [6.0]), 2: ("FAIL", [3.0]), 3: ("COMPLETE", [4.5])}


def figures(start: float) -> dict[str, float]:
    return {f"{m}_{t}": start + t / 15 for t in (15, 30, 45) for m in ("mae", "rmse", "mape")}


def document(**changes: Any) -> dict[str, Any]:
    spread = {name: {"mean": value, "std": None} for name, value in figures(2.0).items()}
    return {
        "schema": 1,
        "dataset": "demo",
        "loss": "stcd",
        "prune": None,
        "params": {"batch_size": 50, "learning_rate": 0.001, "alpha1": 0.2, "alpha2": 0.1, "alpha3": 0.3},
        "n_parameters": 2026,
        "validation": {"score": {"mean": 4.0, "std": None}, **spread},
        "test": spread,
        "seeds": [1],
        "confirmed": [{"trial": 3, "params": {}, "score": {"mean": 4.0, "std": 0.0}}],
        "baselines": {
            "copy_last": {"validation": figures(2.0), "test": figures(2.0)},
            "teacher": {"validation": {"score": {"mean": 9.0, "std": None}, **spread}, "test": spread},
        },
        "fingerprint": {"code": "c", "data": "d", "protocol": "p"},
    } | changes


@pytest.fixture
def finished(tmp_path: Path, demo: Dataset) -> Path:
    """The folder of a search that has ended, with an untrained winner."""
    study = open_study(tmp_path, {"dataset": "demo", "loss": "stcd"}, resume=False)
    for state, scores in TRIALS.values():
        trial = study.ask()
        for epoch, value in enumerate(scores, start=1):
            trial.report(value, epoch)
        final = min(scores) if state == "COMPLETE" else None
        study.tell(trial, final, state=optuna.trial.TrialState[state])
    (tmp_path / "best.json").write_text(json.dumps(document()), encoding="utf-8")
    weights = new_network(demo, STUDENT, seed=3).state_dict()
    checkpoint = Checkpoint(STUDENT, weights, "demo", demo.fingerprint, 1, {"score": 4.0}, 1.0)
    save_checkpoint(tmp_path / "checkpoints" / "best.pt", checkpoint)
    return tmp_path


def test_the_history_is_the_lowest_score_so_far(finished):
    history = picture.read_history(finished, document())
    assert [(c.number, c.state, c.scores) for c in history.curves] == [
        (0, "COMPLETE", [5.0, 5.0, 4.0]),
        (1, "PRUNED", [6.0]),
        (3, "COMPLETE", [4.5]),
    ]
    assert (history.trials, history.winner) == (4, 3)
    assert history.baselines == {"copy_last": pytest.approx(4.0), "teacher": pytest.approx(4.0)}


def test_the_forecast_stands_at_the_time_it_is_for(finished, demo):
    day = picture.read_day(finished, demo)
    mean = demo.days("test").mean(axis=1)
    assert mean[day.day - 1, day.sensor] == mean.min()
    readings = demo.days("test")[day.day - 1]
    np.testing.assert_array_equal(day.truth, readings[:, day.sensor])
    model = load_checkpoint(finished / "checkpoints" / "best.pt").network(demo)
    scored = torch.from_numpy((readings - demo.mean) / demo.std).float()
    for minutes, steps in ((15, 3), (45, 9)):
        line = day.forecasts[minutes]
        assert np.isnan(line[: 11 + steps]).all()
        assert np.isfinite(line[11 + steps : -(9 - steps) or None]).all()
        for at in (40, 150, 270):
            known = scored[at - steps - 11 : at - steps + 1]  # twelve readings, the last one `minutes` before
            with torch.no_grad():
                ahead, _ = model.roll_out(known[None], steps)
            expected = float(ahead[0, -1, day.sensor]) * demo.std + demo.mean
            assert line[at] == pytest.approx(expected, abs=1e-2)


def test_the_picture_is_drawn(finished, capsys):
    pytest.importorskip("matplotlib", reason="the extra 'plots' is not installed")
    for name, start in (("a/out.png", b"\x89PNG"), ("out.svg", b"<?xml")):
        assert picture.main(["--output", str(finished), "--file", str(finished / name)]) == 0
        assert (finished / name).read_bytes().startswith(start)
    drawn = (finished / "out.svg").read_text(encoding="utf-8")
    assert len(drawn) > 20_000
    assert "written to" in capsys.readouterr().out


def test_the_curves_are_told_apart(finished, demo):
    pytest.importorskip("matplotlib", reason="the extra 'plots' is not installed")
    figure = picture.draw(picture.read_history(finished, document()), picture.read_day(finished, demo), "title")
    left, right = figure.axes
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels == ["winner, trial 3", "run to the end", "stopped early (1)", "copy last", "teacher"]
    assert [line.get_label() for line in right.lines] == [
        "measured",
        "15 min ahead",
        "45 min ahead",
    ]
    assert "mph" in left.get_ylabel()
    assert "mph" in right.get_ylabel()


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"dataset": "mine"}, [], "say with --dataset which TOML file declares it"),
        ({}, ["--file", "out.xyz"], "cannot be written"),
    ],
)
def test_mistakes_are_told(finished, changes, options, message):
    pytest.importorskip("matplotlib", reason="the extra 'plots' is not installed")
    (finished / "best.json").write_text(json.dumps(document(**changes)), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        picture.main(["--output", str(finished), "--file", str(finished / "out.png"), *options])


def test_a_search_without_an_end_is_no_picture(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra 'plots' is not installed")
    with pytest.raises(UserError, match=r"best\.json"):
        picture.main(["--output", str(tmp_path), "--file", str(tmp_path / "out.png")])
