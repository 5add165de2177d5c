"""What the figures compute: the projection, the alignment, the stretch of time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.reproduce import figure4
from experiments.reproduce.figure3 import cka, project
from experiments.reproduce.figure4 import slowest_stretch
from experiments.reproduce.kept import Record, keep
from experiments.reproduce.plans import plan_rows, tasks_of
from experiments.reproduce.rows import ROWS
from experiments.reproduce.settings import Settings
from experiments.reproduce.study import Study
from kdsearch.models.stgcn import STUDENT
from kdsearch.training.network import new_network

P = 12


@pytest.fixture
def teacher():
    return torch.randn(P, 2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def slow_cka(a: np.ndarray, b: np.ndarray) -> float:
    """Kornblith et al. 2019: |Y'X|^2 / (|X'X| |Y'Y|), Frobenius, of centred columns."""
    x, y = (m.reshape(len(m), -1) - m.reshape(len(m), -1).mean(axis=0) for m in (a, b))
    return float(np.sum((y.T @ x) ** 2) / np.sqrt(np.sum((x.T @ x) ** 2) * np.sum((y.T @ y) ** 2)))


def test_alignment(teacher):
    other = torch.randn(P, 2, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert cka(teacher, other) == pytest.approx(slow_cka(teacher.numpy(), other.numpy()), rel=1e-9)
    turn, _ = torch.linalg.qr(torch.randn(30, 30, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    assert cka(teacher, 3.0 * teacher.reshape(P, -1) @ turn + 7.0) == pytest.approx(1.0)
    assert cka(teacher, other) < 0.9


def test_scale_and_offset_of_a_network_mean_nothing(teacher):
    found = project(teacher, 5.0 * teacher - 2.0)
    assert found.gap == pytest.approx(0.0, abs=1e-9)
    torch.testing.assert_close(found.teacher, found.student)


def test_plane_is_the_teachers_principal_one(teacher):
    found = project(teacher, teacher.flip(0))
    flat = teacher.mean(dim=-1).flatten(1).numpy()
    flat = (flat - flat.mean()) / flat.std(ddof=1)
    values, axes = np.linalg.eigh(np.cov(flat, rowvar=False))
    assert found.explained[0] == pytest.approx(values[-1] / values.sum())
    assert found.explained[1] == pytest.approx(values[-2] / values.sum())
    along = (flat - flat.mean(axis=0)) @ axes[:, -1]
    np.testing.assert_allclose(abs(found.teacher[:, 0].numpy()), abs(along), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.student, found.teacher.flip(0))
    assert found.gap > 0.5


def test_a_student_of_other_width_is_shown(teacher):
    assert project(teacher, teacher[..., :1]).student.shape == (P, 2)


def test_slowest_stretch():
    speeds = np.full(100, 60.0)
    speeds[40:60] = 20.0
    speeds[:5] = 1.0  # before the first forecast
    assert slowest_stretch(speeds, first=10, points=20) == 40
    speeds[45] = np.nan
    assert 10 <= slowest_stretch(speeds, first=10, points=200) <= 10


HOURLY = """\
steps_per_day = 24
[speeds]
file = "speeds.npy"
[graph]
file = "distances.csv"
[split]
train = 2
validation = 1
test = 1
"""


def test_a_day_too_short_for_a_step_that_every_horizon_forecasts(tmp_path: Path) -> None:
    """Of 24 readings the first twelve are input: a forecast 3 steps ahead ends before one 9 steps ahead begins."""
    np.save(tmp_path / "speeds.npy", np.random.default_rng(0).uniform(20, 60, (4 * 24, 3)))
    np.savetxt(tmp_path / "distances.csv", 800.0 * abs(np.subtract.outer(range(3), range(3))), delimiter=",")
    (tmp_path / "hourly.toml").write_text(HOURLY)
    settings = Settings(str(tmp_path / "hourly.toml"), seeds=1, cache_dir=tmp_path, store=tmp_path)
    plans = plan_rows([ROWS["stcd"]], settings)
    tasks = tasks_of(plans, settings)
    study = Study(settings, plans, tasks, {key: Record(1, {"score": 1.0}) for key in tasks})
    weights = new_network(study.dataset, STUDENT, seed=1).state_dict()
    keep(tasks["stcd seed 1"].path, Record(1, {"score": 1.0}), weights)
    shown = figure4.draw(study, ("stcd",)).axes
    assert [axes.get_title("left") for axes in shown] == ["180 minutes ahead", "540 minutes ahead"]
    forecasts = [line.get_ydata() for axes in shown for line in axes.lines if line.get_label() != "measured"]
    assert [int(np.isfinite(line).sum()) for line in forecasts] == [4, 4]
