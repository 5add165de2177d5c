"""What is measured on: a simulated freeway of any size, networks on it, and the teacher's bank. No file is needed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property

import torch
from torch import Tensor

from kdsearch.data import Dataset, Windows
from kdsearch.data.dataset import Split
from kdsearch.data.graph import gaussian_kernel
from kdsearch.data.simulate import Simulation, simulate
from kdsearch.distillation.bank import TeacherBank
from kdsearch.distillation.losses import get
from kdsearch.distillation.objective import DistillationObjective
from kdsearch.models.stgcn import STGCN, STUDENT
from kdsearch.training.fit import Trainer
from kdsearch.training.network import layout_of, new_network
from kdsearch.training.recipe import PAPER, with_recipe
from kdsearch.training.settings import FitSettings

__all__ = ["ALPHAS", "SPLIT", "Workload", "simulated"]

# The paper's values for PeMSD7 (Table 2).
ALPHAS = {"alpha1": 0.17, "alpha2": 0.047, "alpha3": 0.313}
SPLIT = Split(5, 5, 1)


@cache
def simulated(n_nodes: int, days: int) -> Simulation:
    """Readings and distances; one seed, so every run measures the same."""
    return simulate(n_nodes, days, seed=7)


@dataclass(frozen=True, eq=False)
class Workload:
    """Everything that steps are made of, built when first asked for."""

    n_nodes: int
    batch: int
    recipe: str = PAPER

    @cached_property
    def dataset(self) -> Dataset:
        made = simulated(self.n_nodes, SPLIT.total)
        return Dataset("simulated", made.speeds, gaussian_kernel(made.distances), SPLIT, "default")

    @cached_property
    def windows(self) -> Windows:
        return Windows(self.dataset, "train")

    @cached_property
    def teacher(self) -> STGCN:
        """Untrained: what it forecasts has no influence on the time."""
        return new_network(self.dataset, layout_of("teacher", self.recipe), seed=0).eval()

    @cached_property
    def settings(self) -> FitSettings:
        """Of a student; one that is rolled out has all its steps from the start, as it has in most of its epochs."""
        return replace(with_recipe(FitSettings(batch_size=self.batch), self.recipe, "student"), rollout_warmup=0)

    @cached_property
    def bank(self) -> TeacherBank:
        bank = TeacherBank.build(self.teacher, self.windows.days, get("stcd").NEEDS)
        steps = self.settings.rollout_steps
        return bank.with_rollout(self.teacher, self.windows.days, steps) if steps > 1 else bank

    def objective(self, loss: str) -> DistillationObjective:
        """What builds the trials of a search."""
        bank = self.bank if loss == "stcd" else None
        return DistillationObjective(self.dataset, loss, self.settings, bank, layout=layout_of("student", self.recipe))

    def trainer(self, loss: str) -> Trainer:
        """The training of a fresh student, as a trial of a search has it."""
        params = {"batch_size": self.batch, "learning_rate": 1e-3, **(ALPHAS if loss == "stcd" else {})}
        return self.objective(loss).trainer(params, "cpu", seed=0)

    def student(self) -> STGCN:
        """The student as :meth:`trainer` begins with it."""
        return new_network(self.dataset, STUDENT, seed=0)

    def draws(self, seed: int = 0) -> Draws:
        """An endless sequence of minibatches, the same for the same seed."""
        return Draws(len(self.windows), self.batch, seed)


@dataclass(eq=False)
class Draws:
    """Minibatches of windows at random."""

    count: int
    batch: int
    seed: int

    @cached_property
    def _order(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def __call__(self) -> Tensor:
        return torch.randperm(self.count, generator=self._order)[: self.batch]
