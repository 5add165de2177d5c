"""Times of training steps, of the teacher's passes and of validation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from experiments.benchmarks.naive import naive_stcd
from experiments.benchmarks.plain import PlainSTGCN, windowed_roll_out
from experiments.benchmarks.timing import medians
from experiments.benchmarks.workload import ALPHAS, Workload
from kdsearch.data import Windows
from kdsearch.distillation.bank import bank_bytes
from kdsearch.distillation.losses import get
from kdsearch.models.stgcn import STGCN
from kdsearch.training.evaluate import forecast

__all__ = ["bank_size", "passes", "steps", "validation"]

_PEMSD7_DAYS, _PEMSD7_STEPS = 34, 288


class _PlainStep:
    """A training step as everybody writes it: windows stored, Conv2d network, torch's RMSprop."""

    def __init__(self, work: Workload, teacher: PlainSTGCN | None = None) -> None:
        windows = work.windows
        day, start = windows.locate(torch.arange(len(windows)))
        self._x = windows.inputs(day, start).unsqueeze(1)  # [W, 1, n_his, N]
        self._target = windows.targets(day, start)[0][:, 0]
        self._draw = work.draws()
        self._teacher = teacher
        self._model = PlainSTGCN(work.student()).train()
        self._optimizer = torch.optim.RMSprop(self._model.parameters(), lr=1e-3, alpha=0.9)

    def __call__(self) -> None:
        index = self._draw()
        x, target = self._x[index], self._target[index]
        features = self._model.features(x)
        if self._teacher is None:
            loss = F.mse_loss(features.prediction, target)
        else:
            with torch.no_grad():
                known = self._teacher.features(x)
            loss = naive_stcd(features, known, target, **ALPHAS)
        self._optimizer.zero_grad()
        (loss * (target.numel() / 2)).backward()
        self._optimizer.step()


def steps(work: Workload, repeats: int) -> dict[str, float]:
    """Seconds of one update: ``plain`` (no KD), ``none``, ``stcd``, ``naive`` (L_STCD)."""
    _assert_equal(work)
    draw = work.draws()
    none, stcd = work.trainer("none"), work.trainer("stcd")
    plain = _PlainStep(work)
    sides = {
        "none": lambda: none.update(draw()),
        "stcd": lambda: stcd.update(draw()),
        "plain": plain,
    }
    found = medians(sides, repeats, warm_up=3)
    # Ten seconds a step and gigabytes written: a warm-up would tell nothing.
    naive = _PlainStep(work, PlainSTGCN(work.teacher).eval())
    return {**found, **medians({"naive": naive}, min(2, repeats), warm_up=0)}


@torch.no_grad()
def _assert_equal(work: Workload) -> None:
    """The plain network and ours must compute the same, or the comparison is worth nothing."""
    windows = work.windows
    x = windows.inputs(*windows.locate(work.draws()()))
    for model in (work.student(), work.teacher):
        wanted, found = PlainSTGCN(model).features(x.unsqueeze(1)), model.features(x.unsqueeze(-1))
        pairs = zip(
            (wanted.prediction, *wanted.temporal, *wanted.spatial),
            (found.prediction, *found.temporal, *found.spatial),
            strict=True,
        )
        for a, b in pairs:
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def passes(work: Workload, repeats: int) -> dict[str, float]:
    """Seconds for the teacher's features and forecasts of all windows of a day.

    ``day`` by one pass over the day, ``windowed`` by the same network from minibatches of windows, ``plain`` by the
    plain network from the same.
    """
    teacher, windows = work.teacher, work.windows
    start = torch.arange(windows.per_day)
    x = windows.inputs(torch.zeros_like(start), start).unsqueeze(-1)
    day = windows.days[:1].unsqueeze(-1)
    plain = PlainSTGCN(teacher).eval()

    def windowed() -> object:
        return [teacher.features(part) for part in x.split(work.batch)]

    def plainly() -> object:
        return [plain.features(part.transpose(1, 3).transpose(2, 3)) for part in x.split(work.batch)]

    return medians({"windowed": windowed, "plain": plainly, "day": lambda: teacher.features(day)}, repeats)


def validation(work: Workload, repeats: int) -> dict[str, float]:
    """Seconds of nine-step forecasts of the validation days.

    ``incremental`` as a trial has it; ``plain`` by the plain network, ``windowed`` by ours, both from whole windows.
    """
    windows, steps = Windows(work.dataset, "validation"), work.dataset.n_pred
    model = work.student().eval()
    plain = PlainSTGCN(model).eval()
    ours, theirs = forecast(model, windows, steps), forecast(plain, windows, steps)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-2)
    forecasters = {"incremental": model, "plain": plain, "windowed": _Windowed(model)}
    sides: dict[str, Callable[[], object]] = {
        name: lambda forecaster=forecaster: forecast(forecaster, windows, steps)
        for name, forecaster in forecasters.items()
    }
    return medians(sides, repeats)


class _Windowed:
    """Our network without its memory of earlier steps."""

    def __init__(self, model: STGCN) -> None:
        self._model = model

    def roll_out(self, x: Tensor, steps: int, start: Tensor | None = None) -> tuple[Tensor, None]:
        return windowed_roll_out(lambda window: self._model(window.unsqueeze(-1)), x, self._model.n_his, steps), None


def bank_size(work: Workload) -> int:
    """Bytes of the bank of full PeMSD7 for stcd. The rule is checked on the bank that was built for the steps."""
    needs = get("stcd").NEEDS
    days, length, _ = work.windows.days.shape
    if bank_bytes(work.teacher, days, length, needs) != work.bank.n_bytes:
        raise AssertionError("bank_bytes() disagrees with the bank that was built")
    return bank_bytes(work.teacher, _PEMSD7_DAYS, _PEMSD7_STEPS, needs)
