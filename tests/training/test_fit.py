"""The one training loop: reproducible, carried on exactly, blind to the test days, and equal to hand computations."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from kdsearch.data import Dataset, Windows
from kdsearch.distillation import losses
from kdsearch.distillation.bank import LiveTeacher
from kdsearch.errors import UserError
from kdsearch.models.stgcn import STGCN
from kdsearch.training.evaluate import evaluate
from kdsearch.training.fit import EpochReport, Trainer, fit
from kdsearch.training.metrics import METRICS
from kdsearch.training.network import new_network
from kdsearch.training.settings import FitSettings
from tests.training.tiny import CHANNELS, STEPS, clone, randomised, tiny, weights_equal, with_speeds

SMALL = FitSettings(epochs=3, batch_size=20, learning_rate=3e-3)


def trainer(data: Dataset | None = None, seed: int = 0, loss: str = "none", **changes: Any) -> Trainer:
    data = tiny() if data is None else data
    teacher = None
    values = {h.name: h.default for h in losses.hyperparameters(loss)}
    if loss != "none":
        teacher = LiveTeacher(randomised(new_network(data, ((1, 3, 4), (4, 3, 5)), 9)))
    settings = dataclasses.replace(SMALL, seed=seed, **changes)
    return Trainer(new_network(data, CHANNELS, seed), data, losses.build(loss, **values), settings, teacher)


def numbers(history: list[EpochReport]) -> list[dict[str, Any]]:
    """All of the history but the wall time."""
    return [{k: v for k, v in vars(r).items() if k != "seconds"} for r in history]


def everything(data: Dataset) -> dict[str, Any]:
    """Settings under which an epoch is one update on all training windows: their order cannot matter."""
    return {"batch_size": data.split.train * data.windows_per_day, "lr_decay": 1.0}


def hand_update(model: STGCN, half_sum: torch.Tensor, lr: float) -> dict[str, torch.Tensor]:
    """The first update of TensorFlow 1's RMSprop on the original's loss, half the sum over batch and nodes."""
    names, params = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(half_sum, params)
    return {
        name: p.detach() - lr * g / (0.9 + 0.1 * g**2 + 1e-10).sqrt()
        for name, p, g in zip(names, params, gradients, strict=True)
    }


def assert_close(found: STGCN, wanted: dict[str, torch.Tensor], start: STGCN, atol: float = 2e-6) -> None:
    """Equal up to rounding, which is small beside what the update did."""
    for name, p in found.named_parameters():
        torch.testing.assert_close(p.detach().double(), wanted[name], rtol=1e-4, atol=atol)
    before = dict(start.named_parameters())
    assert all((p - before[name]).abs().max() > 1e-4 for name, p in found.named_parameters())


def slow_windows(data: Dataset) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Histories, the nine steps after each, and which of them were read; float64."""
    w = Windows(data, "train")
    valid = torch.ones_like(w.days, dtype=torch.bool) if w.valid is None else w.valid
    at = [(d, s) for d in range(len(w.days)) for s in range(w.per_day)]
    x = torch.stack([w.days[d, s : s + 12] for d, s in at]).double()
    y = torch.stack([w.days[d, s + 12 : s + 21] for d, s in at]).double()
    return x, y, torch.stack([valid[d, s + 12 : s + 21] for d, s in at])


@pytest.mark.parametrize("loss", ["none", "fitnet"])
def test_the_seed_decides_everything(loss):
    def run(seed: int) -> Trainer:
        torch.manual_seed(seed + 100)
        torch.rand(seed + 1)  # the caller's random state must not matter; the loss's weights are drawn from the seed
        t = trainer(seed=seed, loss=loss)
        fit(t)
        return t

    first, again, other = run(0), run(0), run(1)
    assert numbers(first.history) == numbers(again.history)
    assert weights_equal(first.best_weights, again.best_weights)
    assert numbers(first.history) != numbers(other.history)


def test_training_leaves_the_callers_random_state_alone():
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    fit(trainer(loss="fitnet"))
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("loss", ["none", "fitnet"])
@pytest.mark.parametrize("changes", [{}, {"run_length": 5}, {"rollout_steps": 2}, {"average": 0.9}])
def test_carried_on_is_the_same_as_never_stopped(loss, changes, tmp_path):
    whole = trainer(loss=loss, **changes)
    fit(whole, 4)
    half = trainer(loss=loss, **changes)
    fit(half, 2)
    torch.save(half.state_dict(), tmp_path / "state.pt")
    rest = trainer(loss=loss, **changes)
    rest.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    fit(half, 3)  # what goes on elsewhere must not reach into the kept state
    fit(rest, 4)
    assert numbers(rest.history) == numbers(whole.history)
    assert weights_equal(rest.model.state_dict(), whole.model.state_dict())
    assert weights_equal(rest.best_weights, whole.best_weights)
    assert rest.best_epoch == whole.best_epoch


def test_a_state_is_not_changed_by_who_carries_on_from_it():
    half = trainer()
    fit(half, 2)
    state = half.state_dict()
    ends = []
    for _ in range(2):
        rest = trainer()
        rest.load_state_dict(state)
        ends.append(fit(rest, 4))
    assert numbers(ends[0].history) == numbers(ends[1].history)
    assert len(half.history) == 2


def test_the_best_epoch_is_the_one_with_the_lowest_score():
    t = trainer(learning_rate=0.05, lr_decay=1.0)
    result = fit(t, 8)
    scores = [r.score for r in result.history]
    assert t.best_score == min(scores)
    assert t.best_epoch == 1 + scores.index(min(scores))
    assert t.best_epoch < 8, "the last epoch is the best: this run cannot tell them apart"
    assert result.best == result.history[t.best_epoch - 1]
    model = new_network(tiny(), CHANNELS, 5)
    model.load_state_dict(t.best_weights)
    assert evaluate(model, tiny(), "validation") == t.best_validation
    assert evaluate(t.model, tiny(), "validation") == result.history[-1].validation != t.best_validation
    maes = [t.best_validation[f"mae_{m}"] for m in sorted(int(k[4:]) for k in t.best_validation if k[:4] == "mae_")]
    assert t.best_score == pytest.approx(sum(maes) / 3)
    assert len(t.best_validation) == 3 * len(METRICS)


def test_the_callback_sees_every_epoch_and_can_stop():
    seen = []

    def stop(report: EpochReport) -> bool:
        seen.append(report.epoch)
        return report.epoch == 2

    result = fit(trainer(), 5, on_epoch=stop)
    assert seen == [1, 2]
    assert [r.epoch for r in result.history] == [1, 2]


def test_divergence_is_reported_and_refused():
    seen: list[EpochReport] = []
    t = trainer(learning_rate=1e6, epochs=4)
    with pytest.raises(FloatingPointError, match="diverged"):
        fit(t, on_epoch=seen.append)
    assert math.isnan(seen[-1].score)
    assert seen[-1].validation == {}
    assert (t.best_score, t.best_epoch, t.best_validation) == (math.inf, 0, {})


def test_a_network_that_diverges_late_keeps_its_best_epoch():
    t = trainer()
    fit(t, 2)
    kept = {k: v.clone() for k, v in t.best_weights.items()}
    with torch.no_grad():
        t.model.head.bias.fill_(torch.nan)
    result = fit(t, 5)
    assert math.isnan(result.history[-1].score)
    assert len(result.history) == 3
    assert result.best.epoch <= 2
    assert weights_equal(t.best_weights, kept)


def test_the_learning_rate_falls_as_the_schedule_says():
    result = fit(trainer(lr_every=2, lr_decay=0.5, learning_rate=0.004), 5)
    assert [r.learning_rate for r in result.history] == pytest.approx([0.004, 0.004, 0.002, 0.002, 0.001])
    # An accumulator at rest and a tiny rate: later epochs move weights in proportion to their rate.
    still = trainer(lr_every=1, lr_decay=0.0)
    still.epoch()
    before = {k: v.clone() for k, v in still.model.state_dict().items()}
    still.epoch()
    assert weights_equal(before, still.model.state_dict())


def test_the_first_update_minimises_half_the_sum():
    data = tiny()
    t = trainer(data, **everything(data))
    start = clone(t.model)
    report = t.epoch()
    slow = clone(start).double()
    x, y, _ = slow_windows(data)
    error = slow(x.unsqueeze(-1)) - y[:, 0]
    assert report.losses["total"] == pytest.approx(error.square().mean().item(), rel=1e-5)
    assert_close(t.model, hand_update(slow, error.square().sum() / 2, SMALL.learning_rate), start)


def test_the_first_update_through_a_roll_out():
    data = tiny()
    t = trainer(data, rollout_steps=3, **everything(data))
    start = clone(t.model)
    report = t.epoch()
    slow = clone(start).double()
    x, y, _ = slow_windows(data)
    total = torch.zeros((), dtype=torch.float64)
    for k in range(3):
        forecast = slow(x[:, -12:].unsqueeze(-1))
        total = total + (forecast - y[:, k]).square().mean() / 3
        x = torch.cat((x, forecast[:, None]), dim=1)
    assert report.losses["total"] == pytest.approx(total.item(), rel=1e-5)
    assert set(report.losses) == {"total", "response", "rollout"}
    # Gradients of three steps cancel in places, and the first update divides by their size.
    assert_close(t.model, hand_update(slow, total * len(x) * 4 / 2, SMALL.learning_rate), start, atol=2e-5)


@pytest.mark.parametrize(("loss", "off"), [("skd", {"alpha": 0.0}), ("fitnet", {"weight": 0.0})])
def test_a_loss_whose_kd_counts_for_nothing_trains_through_the_roll_out_as_none_does(loss, off):
    """SKD combines its gradients itself, and has to take those of the later steps too."""
    data = tiny()
    plain, told = (trainer(data, loss=name, rollout_steps=3, **everything(data)) for name in ("none", loss))
    start = clone(plain.model)
    for name, value in off.items():
        setattr(told.loss, name, value)
    first, second = plain.epoch(), told.epoch()
    assert second.losses["total"] == pytest.approx(first.losses["total"], rel=1e-5)
    wanted = {name: p.detach().double() for name, p in plain.model.named_parameters()}
    assert_close(told.model, wanted, start)


@pytest.mark.parametrize("loss", ["none", "rd_l2", "stcd", "skd", "fitnet", "at", "nst"])
def test_a_run_of_windows_is_those_windows(loss):
    """Runs as long as the day in one batch: all windows once, as without runs, so the same update."""
    data = tiny()
    alone, together = (trainer(data, loss=loss, run_length=r, **everything(data)) for r in (1, 28))
    start = clone(alone.model)
    first, second = alone.epoch(), together.epoch()
    assert second.losses == pytest.approx(first.losses, rel=1e-4)
    wanted = {name: p.detach().double() for name, p in alone.model.named_parameters()}
    assert_close(together.model, wanted, start)


def test_runs_longer_than_a_day_are_cut_to_it():
    longest, day = trainer(run_length=1000), trainer(run_length=28)
    assert numbers(fit(longest, 2).history) == numbers(fit(day, 2).history)


@pytest.mark.parametrize("changes", [{"batch_size": 9}, {"batch_size": 30, "run_length": 7}, {"run_length": 26}])
def test_an_epoch_has_as_many_updates_as_it_says(changes):
    t = trainer(**changes)
    steps = []
    t.optimizer.register_step_post_hook(lambda *_: steps.append(1))
    t.epoch()
    assert len(steps) == t.updates_per_epoch


def test_short_data_takes_several_passes(demo):
    assert demo.passes_per_epoch > 1
    t = Trainer(new_network(demo, CHANNELS, 0), demo, losses.build("none"), FitSettings(batch_size=1000))
    assert t.updates_per_epoch == demo.passes_per_epoch * math.ceil(demo.split.train * 268 / 1000)


def holes() -> Dataset:
    """Readings missing where they are targets and inputs, and at step 39, which is only ever a target."""
    data = tiny()
    speeds = data.speeds.copy()
    speeds[:3][np.random.default_rng(1).random((3, STEPS, 4)) < 0.1] = np.nan
    speeds[0, 39, 2] = np.nan
    speeds[0, 39, 3] = 60.0
    return with_speeds(data, speeds)


@pytest.mark.parametrize("steps", [1, 3])
def test_missing_readings_pay_nothing(steps):
    data = holes()
    t = trainer(data, rollout_steps=steps, **everything(data))
    start = clone(t.model)
    t.epoch()
    slow = clone(start).double()
    x, y, valid = slow_windows(data)
    means = []
    for k in range(steps):
        forecast = slow(x[:, -12:].unsqueeze(-1))
        means.append((forecast - y[:, k])[valid[:, k]].square())
        x = torch.cat((x, forecast[:, None]), dim=1)
    later = torch.cat(means[1:]).mean() if steps > 1 else 0.0
    total = (means[0].mean() + (steps - 1) * later) / steps
    assert not valid.all()
    assert_close(t.model, hand_update(slow, total * len(x) * 4 / 2, SMALL.learning_rate), start)


@pytest.mark.parametrize("loss", ["none", "stcd", "rd_l2"])
def test_what_stands_in_place_of_a_missing_target_does_not_matter(loss):
    def run(sensor: int, value: float) -> dict[str, torch.Tensor]:
        t = trainer(holes(), loss=loss)
        t.train_windows.days[0, 39, sensor] = value
        t.epoch()
        return t.model.state_dict()

    assert weights_equal(run(2, 0.0), run(2, 1e6))
    assert weights_equal(run(2, 0.0), run(2, math.nan))
    assert not weights_equal(run(3, 0.0), run(3, 1.0))  # a reading that is there does


@pytest.mark.parametrize("garbage", [math.nan, 1e30, 0.0])
def test_training_never_reads_the_test_days(garbage):
    data = tiny()
    speeds = data.speeds.copy()
    speeds[4:] = garbage
    speeds[4:, :, 0] = 1.0  # a day without a reading is refused
    clean, spoilt = trainer(data), trainer(with_speeds(data, speeds))
    fit(clean)
    fit(spoilt)
    assert numbers(clean.history) == numbers(spoilt.history)
    assert weights_equal(clean.best_weights, spoilt.best_weights)


def test_validation_days_choose_and_do_not_train():
    data = tiny()
    speeds = data.speeds.copy()
    speeds[3] += 9.0
    one, other = trainer(data), trainer(with_speeds(data, speeds))
    fit(one)
    fit(other)
    assert weights_equal(one.model.state_dict(), other.model.state_dict())
    assert one.best_score != other.best_score


def test_a_rehearsal_is_an_update_and_a_validation():
    t = trainer()
    before = clone(t.model)
    t.rehearse()
    assert t.history == []
    assert not weights_equal(before.state_dict(), t.model.state_dict())


def test_training_learns():
    """Below copy-last's error on the validation day: the loop minimises what is measured."""
    from kdsearch.models.classical import CopyLast
    from kdsearch.training.metrics import score

    t = trainer(learning_rate=0.01, batch_size=5)
    fit(t, 15)
    assert t.best_score < score(evaluate(CopyLast(), tiny(), "validation"))


def test_a_horizon_of_one_step():
    data = dataclasses.replace(tiny(), n_pred=1)
    ((_, minutes),) = data.horizons.items()
    model = randomised(new_network(data, CHANNELS, 0)).eval()
    windows = Windows(data, "validation")
    ahead = model(torch.stack([windows.days[0, s : s + 12] for s in range(windows.per_day)]).unsqueeze(-1))
    truth = data.days("validation")[0, 12 : 12 + windows.per_day]
    error = np.abs(windows.denormalise(ahead.detach()).numpy() - truth).mean()
    assert evaluate(model, data, "validation")[f"mae_{minutes}"] == pytest.approx(error, rel=1e-5)
    with pytest.raises(UserError, match=r"rollout_steps=2: tiny has 1 step"):
        trainer(data, rollout_steps=2)
