"""What recipes add to the one training loop: schedules, optimisers, roll-outs of growing length."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from kdsearch.distillation import losses
from kdsearch.distillation.bank import BankReader, TeacherBank
from kdsearch.pruning import Pruner, PruneSettings
from kdsearch.training.fit import Trainer, fit
from kdsearch.training.network import new_network
from kdsearch.training.recipe import PAPER, RECIPES, with_recipe
from kdsearch.training.reference import fingerprint
from kdsearch.training.settings import FitSettings
from tests.training.tiny import CHANNELS, tiny

TEACHER = ((1, 3, 6), (6, 4, 5))


def test_the_paper_is_what_settings_are() -> None:
    assert with_recipe(FitSettings(epochs=7, seed=3), PAPER, "student") == FitSettings(epochs=7, seed=3)
    assert "optimizer" not in FitSettings().plain()  # networks cached before these options keep their names


def test_a_teacher_looks_one_step_ahead_first_and_a_student_further_and_further() -> None:
    teacher = with_recipe(FitSettings(epochs=16), "best", "teacher")
    assert set(teacher.plain()) - set(FitSettings().plain()) == {
        "optimizer",
        "schedule",
        "error",
        "rollout_start",
        "rollout_rate",
        "average",
    }
    assert teacher.rate(13) == pytest.approx(0.3 * teacher.rate(1))
    assert [teacher.steps(e) for e in (1, 12, 13, 16)] == [1, 1, 9, 9]
    student = with_recipe(FitSettings(epochs=16), "best", "student")
    assert [student.steps(e) for e in (1, 2, 3, 4, 5, 16)] == [1, 3, 5, 7, 9, 9]
    for role in ("teacher", "student"):
        assert with_recipe(FitSettings(epochs=1), "best", role).steps(1) == 9


def test_other_training_other_name() -> None:
    data = tiny()
    names = {fingerprint(data, CHANNELS, with_recipe(FitSettings(), name, "student")) for name in RECIPES}
    assert len(names) == len(RECIPES)


def test_cosine() -> None:
    settings = FitSettings(epochs=8, learning_rate=2.0, schedule="cosine")
    assert [settings.rate(e) for e in (1, 5)] == [2.0, pytest.approx(1.0)]
    assert settings.rate(8) == pytest.approx(1 + math.cos(math.pi * 7 / 8))
    rates = [settings.rate(e) for e in range(1, 9)]
    assert rates == sorted(rates, reverse=True)


def test_cosine_begins_anew_with_the_roll_out() -> None:
    settings = FitSettings(epochs=12, learning_rate=2.0, schedule="cosine", rollout_steps=9, rollout_start=8)
    assert [settings.rate(e) for e in (1, 5, 9, 11)] == [2.0, pytest.approx(1.0), 2.0, pytest.approx(1.0)]
    first = FitSettings(epochs=8, learning_rate=2.0, schedule="cosine")
    assert [settings.rate(e) for e in range(1, 9)] == [first.rate(e) for e in range(1, 9)]


def test_the_roll_out_may_begin_at_a_lower_rate() -> None:
    settings = FitSettings(epochs=6, learning_rate=2.0, rollout_steps=9, rollout_start=4, rollout_rate=0.1)
    assert settings.rate(4) == 2.0
    assert settings.rate(5) == pytest.approx(0.2)
    assert settings.rate(6) == pytest.approx(0.2 * 0.7)
    cosine = replace(settings, schedule="cosine")
    assert [cosine.rate(e) for e in (1, 5, 6)] == [2.0, pytest.approx(0.2), pytest.approx(0.1)]


def test_runs_until_windows_are_rolled_out() -> None:
    settings = FitSettings(epochs=4, rollout_steps=3, rollout_start=2, run_length=5)
    assert [settings.run(e) for e in range(1, 5)] == [5, 5, 1, 1]
    assert [FitSettings(run_length=5).run(e) for e in (1, 50)] == [5, 5]
    trainer = Trainer(new_network(tiny(), CHANNELS, 0), tiny(), losses.build("none"), settings)
    seen = []
    for _ in range(4):
        trainer.epoch()
        seen.append((trainer.run, trainer.steps))
    assert seen == [(5, 1), (5, 1), (1, 3), (1, 3)]
    assert trainer.history[-1].losses["rollout"] > 0


def test_steps_grow_evenly() -> None:
    settings = FitSettings(rollout_steps=9, rollout_warmup=4)
    assert [settings.steps(e) for e in range(1, 8)] == [1, 3, 5, 7, 9, 9, 9]
    assert [FitSettings(rollout_steps=9).steps(e) for e in (1, 2)] == [9, 9]
    assert [FitSettings(rollout_warmup=3).steps(e) for e in (1, 5)] == [1, 1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimizer", "sgd"),
        ("schedule", "linear"),
        ("error", "huber"),
        ("rollout_warmup", -1),
        ("rollout_start", -1),
        ("rollout_start", 50),
        ("rollout_rate", 0.0),
        ("average", -0.1),
        ("average", 1.0),
    ],
)
def test_settings_refuse(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        FitSettings(**{field: value})  # type: ignore[arg-type]


def distilled(epochs: int = 4, pruner: Pruner | None = None, channels=CHANNELS) -> Trainer:
    data = tiny()
    settings = with_recipe(FitSettings(epochs=epochs, learning_rate=3e-3, batch_size=20), "best", "teacher")
    teacher = new_network(data, TEACHER, 1).eval()
    loss = losses.build("stcd", alpha1=0.4, alpha2=0.5, alpha3=0.3, error=settings.error)
    trainer = Trainer(new_network(data, channels, 0), data, loss, settings, pruning=pruner)
    bank = TeacherBank.build(teacher, trainer.train_windows.days, loss.needs)
    trainer.teacher = BankReader(bank.with_rollout(teacher, trainer.train_windows.days, settings.rollout_steps))
    return trainer


def test_distilled_along_the_roll_out_and_carried_on_exactly(tmp_path) -> None:
    whole = distilled()
    fit(whole)
    assert set(whole.history[-1].losses) == {"total", "response", "teacher_share", "temporal", "spatial", "rollout"}
    assert "rollout" not in whole.history[0].losses  # the curriculum begins with one step
    first = distilled()
    for _ in range(2):
        first.epoch()
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = distilled()
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    fit(second)
    assert [r.score for r in second.history] == [r.score for r in whole.history]


def test_the_first_update_by_hand() -> None:
    """Mean absolute error over nine steps, through the network's own forecasts, times B * N / 2; one step of Adam."""
    data = tiny()
    settings = FitSettings(
        epochs=1, batch_size=84, learning_rate=0.01, optimizer="adam", error="absolute", rollout_steps=9
    )
    trainer = Trainer(new_network(data, CHANNELS, 0), data, losses.build("none", error="absolute"), settings)
    model = new_network(data, CHANNELS, 0)
    day, start = trainer.train_windows.locate(torch.arange(84))
    x = trainer.train_windows.inputs(day, start)
    truth, _ = trainer.train_windows.targets(day, start, steps=9)
    seen = x
    for _ in range(9):
        seen = torch.cat((seen, model(seen[:, -12:, :, None])[:, None]), dim=1)
    (0.5 * (seen[:, 12:] - truth[:, 0]).abs().mean() * 84 * 4).backward()
    trainer.epoch()
    for mine, theirs in zip(model.parameters(), trainer.model.parameters(), strict=True):
        assert mine.grad is not None
        moved = 0.01 * mine.grad / (mine.grad.abs() + 1e-8)  # Adam's first step: both moments corrected
        sure = mine.grad.abs() > 1e-4
        torch.testing.assert_close(theirs.detach()[sure], (mine.detach() - moved)[sure], rtol=1e-3, atol=1e-5)


def test_pruning_keeps_adams_state() -> None:
    pruner = Pruner(PruneSettings(50, pruning_minibatch=2, stage_percent=30))
    trainer = distilled(2, pruner, ((1, 4, 6), (6, 4, 8)))
    fit(trainer)
    assert pruner.settled
    for p in trainer.model.parameters():
        state = trainer.optimizer.state[p]
        assert state["exp_avg"].shape == state["exp_avg_sq"].shape == p.shape
        assert float(state["step"]) == trainer.updates_per_epoch * 2
