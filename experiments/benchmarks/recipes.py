"""What an update by each recipe costs, of student and teacher, in turn: the price of a trial."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kdsearch import command

__all__ = ["main", "measure", "parser"]

_RECIPES = ("paper", "best")
# Consecutive windows that a teacher is trained on together where it looks one step ahead, as on real readings.
_RUN = 10


def parser() -> command.Parser:
    """The command's arguments."""
    p = command.Parser(
        "python -m experiments.benchmarks.recipes",
        "Time updates of student and teacher by the paper's recipe and by the best, in turn, on simulated readings. "
        "Networks are untrained; medians count.",
    )
    p.add_argument("--n-nodes", type=command.positive_int, default=228, metavar="N", help="sensors, simulated")
    p.add_argument("--batch", type=command.positive_int, default=50, metavar="N", help="windows an update")
    p.add_argument("--repeats", type=command.positive_int, default=15, metavar="N", help="updates of each")
    p.add_argument("--threads", type=command.positive_int, default=1, metavar="N", help="of torch, as a trial has one")
    p.add_argument("--json", action="store_true", help="print one JSON object")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print."""
    args = parser().parse_args(argv)
    import torch

    from experiments.benchmarks.table import show

    torch.set_num_threads(args.threads)
    rows = measure(args.n_nodes, args.batch, args.repeats)
    report = {"updates": rows, "n_nodes": args.n_nodes, "batch": args.batch, "threads": args.threads}
    show(report, [("updates", f"An update of {args.batch} windows, {args.n_nodes} sensors")], args.json)
    return 0


def measure(n_nodes: int, batch: int, repeats: int) -> list[dict[str, Any]]:
    """A row for each: what is trained, milliseconds an update, and how many of the paper's student without KD it is."""
    from experiments.benchmarks.timing import medians
    from experiments.benchmarks.workload import Workload

    sides = _sides(Workload(n_nodes, batch))
    seconds = medians(sides, repeats)
    unit = seconds["student, paper, no KD"]
    return [{"update": name, "ms": 1e3 * s, "times": s / unit} for name, s in seconds.items()]


def _sides(work: Any) -> Mapping[str, Callable[[], object]]:
    """By name, an update of a recipe as its later epochs make it."""
    from experiments.benchmarks.workload import ALPHAS
    from kdsearch.distillation.bank import TeacherBank
    from kdsearch.distillation.losses import build, get
    from kdsearch.distillation.objective import DistillationObjective
    from kdsearch.training.fit import Trainer
    from kdsearch.training.network import layout_of, new_network
    from kdsearch.training.recipe import with_recipe
    from kdsearch.training.settings import FitSettings

    data, windows = work.dataset, work.windows
    sides: dict[str, Callable[[], object]] = {}

    def add(name: str, trainer: Trainer) -> None:
        def update() -> None:
            trainer.update(trainer._batches()[0])

        trainer.model.train()
        sides[name] = update

    for recipe in _RECIPES:
        fit = replace(with_recipe(FitSettings(epochs=8, batch_size=work.batch), recipe, "student"), rollout_warmup=0)
        layout = layout_of("student", recipe)
        teacher = new_network(data, layout_of("teacher", recipe), seed=0).eval()
        bank = TeacherBank.build(teacher, windows.days, get("stcd").NEEDS)
        if fit.rollout_steps > 1:
            bank = bank.with_rollout(teacher, windows.days, fit.rollout_steps)
        params = {"batch_size": work.batch, "learning_rate": 1e-3}
        bare = DistillationObjective(data, "none", fit, None, None, layout)
        told = DistillationObjective(data, "stcd", fit, bank, None, layout)
        add(f"student, {recipe}, no KD", bare.trainer(params, "cpu", 0))
        add(f"student, {recipe}, L_STCD", told.trainer({**params, **ALPHAS}, "cpu", 0))
        one_step = replace(FitSettings(batch_size=work.batch), run_length=_RUN, error=fit.error)
        stages = {"one step ahead": one_step}
        if fit.rollout_steps > 1:
            stages["through the roll-out"] = fit
        for stage, how in stages.items():
            network = new_network(data, layout_of("teacher", recipe), seed=0)
            add(f"teacher, {recipe}, {stage}", Trainer(network, data, build("none", error=how.error), how))
    return sides


if __name__ == "__main__":
    sys.exit(command.run(main))
