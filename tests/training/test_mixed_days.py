"""Students that follow their teacher on days that never were."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
import torch

from kdsearch.data import Windows
from kdsearch.data.mixed import n_mixed
from kdsearch.distillation import losses
from kdsearch.distillation.bank import BankReader, LiveTeacher, TeacherBank
from kdsearch.models.stgcn import STGCN
from kdsearch.training.batches import passes_per_epoch, updates_per_epoch
from kdsearch.training.fit import Trainer, fit
from kdsearch.training.network import new_network
from kdsearch.training.recipe import PAPER, with_recipe
from kdsearch.training.settings import FitSettings
from tests.training.tiny import CHANNELS, Tiny, randomised, tiny

TEACHER = ((1, 3, 6), (6, 4, 5))


class Thrice(Tiny):
    """An epoch is three passes: two of them may be over mixed days."""

    @property
    def passes_per_epoch(self) -> int:
        return 3


_TINY = tiny()
DATA = Thrice(**{f.name: getattr(_TINY, f.name) for f in fields(_TINY)})


def teacher() -> STGCN:
    return randomised(new_network(DATA, TEACHER, 1), 2, scale=0.2).eval()


def student(kind: str = "bank", steps: int = 9, mixed: bool = True, loss: str = "ord", **values: float) -> Trainer:
    settings = FitSettings(epochs=1, batch_size=60, error="absolute", rollout_steps=steps, mixed_days=mixed)
    what = losses.build(loss, error="absolute", **values)
    network, days = teacher(), Windows(DATA, "train", mixed=n_mixed(DATA) if mixed else 0).days
    told: BankReader | LiveTeacher = LiveTeacher(network, steps=steps)
    if kind == "bank":
        told = BankReader(TeacherBank.build(network, days, what.needs).with_rollout(network, days, 9))
    return Trainer(new_network(DATA, CHANNELS, 0), DATA, what, settings, told)


@pytest.mark.parametrize("kind", ["bank", "live"])
@pytest.mark.parametrize("steps", [1, 9])
@pytest.mark.parametrize("mixed", [True, False])
def test_the_target_of_a_mixed_day_is_what_the_teacher_says(kind: str, steps: int, mixed: bool) -> None:
    """``alpha1 = 1`` follows targets alone: what is followed on a mixed day is the teacher all the same."""
    trainer = student(kind, steps, alpha1=1.0)
    trainer.steps = steps
    windows = trainer.train_windows
    index = torch.tensor([0, 5, 40]) + (len(Windows(DATA, "train")) if mixed else 0)
    day, start = windows.locate(index)
    x = windows.inputs(day, start)
    with torch.no_grad():
        said, model = teacher().roll_out(x, steps)[0], new_network(DATA, CHANNELS, 0)
        own = model.roll_out(x, steps)[0]
    goal = said if mixed else windows.targets(day, start, steps=9)[0][:, 0, :steps]
    assert (said - windows.targets(day, start, steps=9)[0][:, 0, :steps]).abs().mean() > 0.1
    assert float(trainer.update(index)["total"]) == pytest.approx(float((own - goal).abs().mean()), rel=2e-3)


def test_an_epoch_has_as_many_updates_and_sees_every_day_once() -> None:
    plain, mixed = (student(mixed=m, alpha1=0.5) for m in (False, True))
    assert (passes_per_epoch(DATA, plain.settings), passes_per_epoch(DATA, mixed.settings)) == (3, 1)
    assert mixed.updates_per_epoch == updates_per_epoch(DATA, mixed.settings) == math.ceil(3 * 3 * 28 / 60)
    assert plain.updates_per_epoch - mixed.updates_per_epoch in (0, 1)
    (index,) = [torch.cat(mixed.batches())]
    assert sorted(index.tolist()) == list(range(9 * 28))
    fit(mixed)
    assert math.isfinite(mixed.best_score)


def test_they_change_what_is_learned_and_nothing_is_left_to_chance() -> None:
    first, again, without = (student(mixed=m, loss="rd_l2", beta=1.0) for m in (True, True, False))
    for trainer in (first, again, without):
        fit(trainer)
    assert first.best_score == again.best_score != without.best_score


def test_without_a_teacher_there_are_none() -> None:
    settings = FitSettings(epochs=1, mixed_days=True)
    with pytest.raises(ValueError, match=r"mixed_days: .* a teacher"):
        Trainer(new_network(DATA, CHANNELS, 0), DATA, losses.build("none"), settings)


def test_who_has_them() -> None:
    settings = FitSettings(epochs=4)
    assert with_recipe(settings, "best", "distilled").mixed_days
    for recipe, role in (("best", "student"), ("best", "teacher"), (PAPER, "distilled")):
        assert "mixed_days" not in with_recipe(settings, recipe, role).plain()  # names of networks are as they were
