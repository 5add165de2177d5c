"""Operations by hand, and a time that is measured once."""

from __future__ import annotations

import torch

from experiments.reproduce.timing import operations, timed
from kdsearch.models.stgcn import STGCN


def test_operations_by_hand():
    """Two operations a product of every layer: steps x nodes x inputs x outputs."""
    n, (a, b, c), ks, kt, n_his = 5, (1, 2, 4), 3, 3, 12
    model = STGCN(n, ((a, b, c),), torch.eye(n).expand(ks, n, n).contiguous())
    steps = n_his - kt + 1
    wanted = n * steps * (kt * a) * (2 * b)  # GLU: both halves; the residual is padded
    wanted += n * steps * (ks * b) * b + (ks - 1) * n * n * b * steps  # graph convolution; the first tap is the input
    steps -= kt - 1
    wanted += n * steps * (kt * b) * c
    ko = n_his - 2 * (kt - 1)
    wanted += n * (ko * c) * (2 * c) + n * c * c + n * c  # head
    assert operations(model) == 2 * wanted


def test_a_time_is_measured_once(tmp_path):
    model = STGCN(5, ((1, 2, 4),), torch.eye(5).expand(3, 5, 5).contiguous())
    assert timed(model, 3, 4, "cpu", tmp_path, measure=False) is None
    first = timed(model, 3, 4, "cpu", tmp_path)
    assert timed(model, 3, 4, "cpu", tmp_path, measure=False) == first
    assert timed(model, 3, 4, "cpu", tmp_path) == first
    assert first["runs"] == 4
    assert first["batch"] == 3
    assert 0 < first["median"] < 5
    assert len(list((tmp_path / "reproduce").glob("time-*.json"))) == 1
    timed(model, 3, 5, "cpu", tmp_path)
    assert len(list((tmp_path / "reproduce").glob("time-*.json"))) == 2
