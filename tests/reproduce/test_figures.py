"""What the figures compute: the projection, the alignment, the stretch of time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments.reproduce.figure3 import cka, project
from experiments.reproduce.figure4 import slowest_stretch

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
