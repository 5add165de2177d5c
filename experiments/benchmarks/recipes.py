"""What an update by each recipe costs, of student and teacher, in turn: the price of a trial."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kdsearch import command

if TYPE_CHECKING:
    from kdsearch.training.fit import Trainer

__all__ = ["main", "measure", "parser"]

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

    seconds = medians({name: _update_of(trainer) for name, trainer in _trainers(n_nodes, batch)}, repeats)
    unit = seconds["student, paper, no KD"]
    return [{"update": name, "ms": 1e3 * s, "times": s / unit} for name, s in seconds.items()]


def _trainers(n_nodes: int, batch: int) -> Iterator[tuple[str, Trainer]]:
    """By name, the trainings of each recipe as their later epochs are."""
    from experiments.benchmarks.workload import Workload
    from kdsearch.distillation.losses import build
    from kdsearch.training.fit import Trainer
    from kdsearch.training.network import layout_of, new_network

    for recipe in ("paper", "best"):
        work = Workload(n_nodes, batch, recipe)
        yield f"student, {recipe}, no KD", work.trainer("none")
        yield f"student, {recipe}, L_STCD", work.trainer("stcd")
        fit = work.settings
        stages = {"one step ahead": replace(fit, rollout_steps=1, run_length=_RUN)}
        if fit.rollout_steps > 1:
            stages["through the roll-out"] = fit
        for stage, how in stages.items():
            network = new_network(work.dataset, layout_of("teacher", recipe), seed=0)
            loss = build("none", error=how.error)
            yield f"teacher, {recipe}, {stage}", Trainer(network, work.dataset, loss, how)


def _update_of(trainer: Trainer) -> Callable[[], object]:
    trainer.model.train()
    return lambda: trainer.update(trainer.batches()[0])


if __name__ == "__main__":
    sys.exit(command.run(main))
