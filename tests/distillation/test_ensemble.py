"""The mean of several teachers' banks against the mean of what each of them says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from kdsearch.data import Windows
from kdsearch.distillation.bank import BankReader, TeacherBank
from kdsearch.distillation.ensemble import averaged
from kdsearch.distillation.losses import Needs
from kdsearch.distillation.sampled import Sampling
from kdsearch.training.network import new_network
from tests.training.tiny import CHANNELS, tiny

NEEDS = Needs(prediction=True, temporal_correlation=True, spatial_correlation=True)


def banks(count: int, needs: Needs = NEEDS, steps: int = 3) -> list[TeacherBank]:
    data = tiny()
    days = Windows(data, "train").days
    teachers = [new_network(data, CHANNELS, seed).eval() for seed in range(count)]
    return [TeacherBank.build(t, days, needs).with_rollout(t, days, steps) for t in teachers]


def test_holds_the_mean() -> None:
    one, two, three = banks(3)
    mean = averaged([one, two, three])
    np.testing.assert_allclose(mean.prediction, (one.prediction + two.prediction + three.prediction) / 3, rtol=1e-5)
    rollouts = [np.asarray(bank.rollout, np.float64) for bank in (one, two, three)]
    np.testing.assert_allclose(np.asarray(mean.rollout, np.float64), np.mean(rollouts, axis=0), atol=2e-3)
    for kind in ("temporal_correlation", "spatial_correlation"):
        for layer, (values, scale) in enumerate(getattr(mean, kind)):
            wanted = np.mean(
                [
                    v.astype(np.float64) * s.reshape(-1, *[1] * (v.ndim - 1))
                    for v, s in (getattr(bank, kind)[layer] for bank in (one, two, three))
                ],
                axis=0,
            )
            unit = scale.reshape(-1, *[1] * (values.ndim - 1))
            # Half a step of the fixed point each time it is written, and float32's own rounding.
            assert np.all(np.abs(values * unit.astype(np.float64) - wanted) <= 1.01 * unit + 1e-6 * wanted.max())


def test_is_read_like_any_bank() -> None:
    mean = averaged(banks(2))
    day, start = torch.tensor([0, 1]), torch.tensor([2, 0])
    told = BankReader(mean)(day, start, torch.zeros(2, mean.n_his, mean.prediction.shape[-1]))
    np.testing.assert_array_equal(told.prediction.numpy(), mean.prediction[day.numpy(), start.numpy()])


def test_one_is_itself() -> None:
    (one,) = banks(1)
    assert averaged([one]) is one


def test_hidden_features_have_no_mean() -> None:
    with pytest.raises(ValueError, match="hidden features"):
        averaged(banks(2, Needs(prediction=True, temporal_features=(0,))))


def test_sampled_pairs_must_be_the_same() -> None:
    data = tiny()
    days = Windows(data, "train").days
    teacher = new_network(data, CHANNELS, 0).eval()
    same = [TeacherBank.build(teacher, days, NEEDS, Sampling(1, seed)) for seed in (0, 0, 1)]
    assert averaged(same[:2]).spatial_order is same[0].spatial_order
    with pytest.raises(ValueError, match="different pairs"):
        averaged(same)
    assert averaged([replace(same[0], rollout=None), same[1]]).rollout is None
