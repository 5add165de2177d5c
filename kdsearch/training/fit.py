"""The one training loop: teacher, student, distillation and fine-tuning all run through :class:`Trainer`."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from kdsearch.data import Dataset, Windows
from kdsearch.errors import UserError
from kdsearch.models.astgcn import ASTGCN
from kdsearch.models.stgcn import STGCN, Layout
from kdsearch.training.averaging import WeightAverage
from kdsearch.training.batches import shuffled_runs, shuffled_windows, updates_per_epoch
from kdsearch.training.evaluate import evaluate_windows
from kdsearch.training.metrics import score
from kdsearch.training.optimizer import make_optimizer
from kdsearch.training.parts import LossFunction, Minibatch, Pruning, Teacher
from kdsearch.training.report import EpochReport, FitResult, Histograms
from kdsearch.training.settings import FitSettings

__all__ = ["EpochReport", "FitResult", "Histograms", "LossFunction", "Minibatch", "Pruning", "Trainer", "fit"]


class Trainer:
    """Trains one network, epoch by epoch, and remembers its best one.

    Selection reads the validation days only. Everything random comes from ``settings.seed``, so on the CPU two
    trainers built alike give the same numbers, also when one is carried on from :meth:`state_dict`.

    Args:
        model: the network; trained in place on ``device``. An ASTGCN is trained through all its steps.
        dataset: readings and split.
        loss: from :func:`kdsearch.distillation.losses.build`.
        settings: length, batch size, rate, seed.
        teacher: gives what the loss reads of the teacher for a batch; ``None`` for losses that read nothing.
        device: where everything lives.
        pruning: takes weights away as training goes on; ``None`` leaves the network its shape.
        cost: measures what :attr:`cost` gives.
    """

    def __init__(
        self,
        model: STGCN | ASTGCN,
        dataset: Dataset,
        loss: LossFunction,
        settings: FitSettings,
        teacher: Teacher | None = None,
        device: str | torch.device = "cpu",
        pruning: Pruning | None = None,
        cost: Callable[[Trainer], float] | None = None,
    ) -> None:
        if settings.rollout_steps > dataset.n_pred:
            raise UserError(
                f"rollout_steps={settings.rollout_steps}: {dataset.name} has {dataset.n_pred} step(s) ahead"
            )
        self._measure = cost
        self._cost: float | None = None
        self.device = torch.device(device)
        # An ASTGCN is never pruned nor distilled; all else that is asked of a network it has.
        self.model = cast(STGCN, model.to(self.device))
        self.loss, self.settings, self.teacher, self.pruning = loss, settings, teacher, pruning
        self.train_windows = Windows(dataset, "train", self.device)
        self.validation_windows = Windows(dataset, "validation", self.device)
        self.horizons = dataset.horizons
        self.passes = dataset.passes_per_epoch
        self.updates_per_epoch = updates_per_epoch(dataset, settings)
        self.run = min(settings.run_length, dataset.windows_per_day)
        self.steps = settings.rollout_steps if settings.run_length == 1 else 1
        self._prepare_loss()
        # The loss's own weights, if it has any, are trained beside the network's.
        self._params: list[Tensor] = [*self.model.parameters(), *loss.parameters()]
        self.optimizer = make_optimizer(settings.optimizer, self._params, settings.learning_rate)
        # On the CPU whatever the device: the order of windows must not depend on it.
        self._order = torch.Generator().manual_seed(settings.seed)
        self.history: list[EpochReport] = []
        self.best: EpochReport | None = None
        self.best_weights: dict[str, Tensor] = {}
        self._average: WeightAverage | None = None
        if pruning is not None:
            pruning.start(self)

    @property
    def best_score(self) -> float:
        """Lowest validation score so far, infinite before the first finite one."""
        return self.best.score if self.best else math.inf

    @property
    def best_epoch(self) -> int:
        """Epoch of :attr:`best_score`; 0 before the first finite one."""
        return self.best.epoch if self.best else 0

    @property
    def best_validation(self) -> dict[str, float]:
        """The nine validation figures of the best epoch."""
        return self.best.validation if self.best else {}

    @property
    def validated(self) -> STGCN:
        """The network that an epoch is judged by: that of averaged weights, where there is one, else :attr:`model`."""
        return self.model if self._average is None else cast(STGCN, self._average.model)

    @property
    def cost(self) -> float | None:
        """Of the network in its final shape, by the measure given, taken once; None before, and without a measure."""
        if self._measure is None or (self.pruning is not None and not self.pruning.settled):
            return None
        if self._cost is None:
            self._cost = float(self._measure(self))
        return self._cost

    @property
    def layout(self) -> dict[str, Any] | None:
        """Shape of a network that its channels do not describe, as plain values: of a pruned one."""
        layout: Layout | None = getattr(self.model, "layout", None)
        return None if layout is None or layout.published else layout.plain()

    @torch.no_grad()
    def _prepare_loss(self) -> None:
        """Let the loss make weights of its own from the shapes of one small batch."""
        batch = self._batch(torch.zeros(1, dtype=torch.long, device=self.device))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.settings.seed)
            self.loss.prepare(self.model.features(batch.x.unsqueeze(-1), batch.start), batch.teacher)
        self.loss.to(self.device)

    def rehearse(self) -> None:
        """One update with a full batch and one validation, so that peak memory shows. Spoils the trainer."""
        self.model.train()
        self.update(self.batches()[0].to(self.device))
        self.model.eval()
        evaluate_windows(self.model, self.validation_windows, self.horizons)

    def epoch(self) -> EpochReport:
        """Train one epoch, validate by roll-out, remember the network if it is the best so far."""
        began = time.perf_counter()
        number = len(self.history) + 1
        rate = self.settings.rate(number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.steps = self.settings.steps(number)
        self.run = min(self.settings.run(number), self.train_windows.per_day)
        losses = self._train(number)
        # A diverged network cannot be rolled out to anything but NaN: save the time.
        finite = all(math.isfinite(x) for x in losses.values())
        judged = self.validated.eval()
        validation = evaluate_windows(judged, self.validation_windows, self.horizons) if finite else {}
        value = score(validation) if validation else math.nan
        report = EpochReport(number, value, validation, losses, rate, time.perf_counter() - began)
        if self.pruning is not None:
            report.losses |= self.pruning.figures()
            report.histograms = self.pruning.histograms(after=(number - 1) * self.updates_per_epoch)
        self.history.append(report)
        if value < self.best_score and (self.pruning is None or self.pruning.settled):
            self.best = report
            self.best_weights = {k: v.detach().clone() for k, v in self.validated.state_dict().items()}
        report.best_score = self.best_score
        return report

    def _train(self, number: int) -> dict[str, float]:
        """One epoch of updates; nothing but the end of it waits for the device."""
        self.model.train()
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}  # by part: after pruning another loss may take over within an epoch
        for _ in range(self.passes):
            for batch in self.batches():
                for name, value in self.update(batch.to(self.device, non_blocking=True)).items():
                    sums[name] = sums[name] + value if name in sums else value.clone()
                    counts[name] = counts.get(name, 0) + 1
        totals = torch.stack([value.double() for value in sums.values()]).tolist()
        return {name: total / counts[name] for name, total in zip(sums, totals, strict=True)}

    def batches(self) -> tuple[Tensor, ...]:
        """One pass in random order: indices of windows, or of the first windows of runs."""
        settings, windows = self.settings, self.train_windows
        if self.run == 1:
            return shuffled_windows(len(windows), settings.batch_size, self._order)
        days, per_day = windows.days.shape[0], windows.per_day
        return shuffled_runs(days, per_day, self.run, settings.batch_size, self._order)

    def update(self, index: Tensor) -> dict[str, Tensor]:
        """One update; returns the detached parts of the loss."""
        batch = self._batch(index)
        terms = self._terms(batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.loss.backward(terms, self._params, scale=self._scale(batch))
        if self.pruning is not None:
            self.pruning.after_backward(self, batch)
        self.optimizer.step()
        settled = self.pruning is None or self.pruning.settled
        if self.pruning is not None:
            self.pruning.after_step(self)
        if self.settings.average and settled:  # weights of another shape are not to be counted
            self._follow()
        return {"total": terms.total.detach(), **terms.parts}

    def _follow(self) -> None:
        if self._average is None:
            self._average = WeightAverage(self.settings.average, self.model)
        else:
            self._average.update(self.model)

    def _scale(self, batch: Minibatch) -> float:
        """The original minimises half the sum over batch and nodes, not the mean."""
        return batch.x.shape[0] * self.run * batch.x.shape[-1] / 2

    def gradients(self, loss: LossFunction, batch: Minibatch) -> list[Tensor]:
        """Gradients of another loss on a minibatch, scaled as an update scales them, one per network parameter."""
        total = self._terms(batch, loss).total * self._scale(batch)
        return list(torch.autograd.grad(total, list(self.model.parameters()), materialize_grads=True))

    def replace_model(self, model: STGCN, cut: Callable[[str, Tensor], Tensor]) -> None:
        """Carry on with a smaller network of the same parameter names.

        Args:
            model: what is left of :attr:`model`, its weights set.
            cut: ``(parameter name, tensor shaped like it) -> what is left``; applied to the optimiser's state.
        """
        state = self.optimizer.state
        kept = {
            n: {k: cut(n, v) if v.shape == p.shape else v for k, v in state[p].items()}
            for n, p in self.model.named_parameters()
            if p in state
        }
        own = {p: state[p] for p in self.loss.parameters() if p in state}
        groups = [{k: v for k, v in g.items() if k != "params"} for g in self.optimizer.param_groups]
        self.model = model
        self._params = [*model.parameters(), *self.loss.parameters()]
        self.optimizer = make_optimizer(self.settings.optimizer, self._params, self.settings.learning_rate)
        self.optimizer.param_groups[0].update(groups[0])
        for name, p in model.named_parameters():
            if name in kept:
                self.optimizer.state[p] = kept[name]
        self.optimizer.state.update(own)

    def _batch(self, index: Tensor) -> Minibatch:
        """Inputs, targets and the teacher's part for windows, or for runs that start at them."""
        windows, steps = self.train_windows, self.steps
        day, start = windows.locate(index)
        x = windows.inputs(day, start, run=self.run)
        target, valid = windows.targets(day, start, run=self.run, steps=steps)
        if self.run == 1:  # [B, 1, ...] -> [B, ...]
            target, valid = target[:, 0], None if valid is None else valid[:, 0]
        return Minibatch(x, start, target, valid, None if self.teacher is None else self.teacher(day, start, x))

    def _terms(self, batch: Minibatch, loss: LossFunction | None = None) -> Any:
        loss = self.loss if loss is None else loss
        if self.steps == 1:
            return loss(
                self.model.features(batch.x.unsqueeze(-1), batch.start), batch.teacher, batch.target, batch.valid
            )
        return self._rolled_terms(batch, loss)

    def _rolled_terms(self, batch: Minibatch, loss: LossFunction) -> Any:
        """Training through the roll-out: the loss sees the first step, and every later one pays its response term.

        So a student follows the teacher's roll-out where its loss follows the teacher's forecasts, and the teacher's
        hidden features where the input is observed.
        """
        target, valid = batch.target, batch.valid  # [B, steps, N]
        if valid is not None:
            target = torch.where(valid, target, 0.0)
        later_steps = target.shape[1] - 1
        forecasts, features = self.model.roll_out(batch.x, target.shape[1], batch.start)
        terms = loss(features, batch.teacher, target[:, 0], None if valid is None else valid[:, 0])
        known = getattr(batch.teacher, "rollout", None)
        later, parts = loss.response(
            forecasts[:, 1:],
            None if known is None else known[:, 1 : later_steps + 1],
            target[:, 1:],
            None if valid is None else valid[:, 1:],
            by_step=True,
        )
        return terms.with_later(later, parts, later_steps)

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs to carry on exactly; tensors and plain values only."""
        return {
            "model": self.model.state_dict(),
            **({"layout": self.model.layout.plain()} if hasattr(self.model, "layout") else {}),
            "average": None if self._average is None else self._average.state_dict(),
            "loss": [p.detach() for p in self.loss.parameters()],
            "optimizer": self.optimizer.state_dict(),
            "order": self._order.get_state(),
            "history": [vars(r) for r in self.history],
            "best": None if self.best is None else vars(self.best),
            "best_weights": self.best_weights,
            "pruning": None if self.pruning is None else self.pruning.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Carry on where another trainer, built alike, had come to."""
        state = copy.deepcopy(dict(state))
        layout = Layout.from_plain(state["layout"]) if "layout" in state else None
        if layout is not None and layout != self.model.layout:
            self.replace_model(self.model.like(layout), lambda _, kept: kept)
        self.model.load_state_dict(state["model"])
        if state.get("average") is not None:
            self._average = WeightAverage(self.settings.average, self.model)
            self._average.load_state_dict(state["average"])
        with torch.no_grad():
            for p, kept in zip(self.loss.parameters(), state["loss"], strict=True):
                p.copy_(kept)
        self.optimizer.load_state_dict(state["optimizer"])
        self._order.set_state(state["order"].cpu())
        self.history = [EpochReport(**r) for r in state["history"]]
        self.best = None if state["best"] is None else EpochReport(**state["best"])
        self.best_weights = state["best_weights"]
        if self.pruning is not None:
            self.pruning.load_state_dict(state.get("pruning"), self)


def fit(
    trainer: Trainer, epochs: int | None = None, on_epoch: Callable[[EpochReport], bool | None] | None = None
) -> FitResult:
    """Run a trainer to its last epoch.

    Args:
        trainer: fresh, or carried on from a state.
        epochs: up to which epoch; default ``trainer.settings.epochs``.
        on_epoch: called after each epoch; returning ``True`` ends the training.

    Raises:
        FloatingPointError: no epoch had a finite validation score.
        UserError: the last epoch came before the pruning was finished.
    """
    last = trainer.settings.epochs if epochs is None else epochs
    while len(trainer.history) < last:
        report = trainer.epoch()
        if (on_epoch is not None and on_epoch(report)) or not math.isfinite(report.score):
            break
    unsettled = trainer.pruning is not None and not trainer.pruning.settled
    if trainer.best is None and unsettled and all(math.isfinite(r.score) for r in trainer.history):
        raise UserError("training ended before pruning did: train longer, or prune more often or more at a time")
    if trainer.best is None:
        raise FloatingPointError("training diverged: no epoch gave a finite validation score")
    return FitResult(trainer.best, trainer.history)
