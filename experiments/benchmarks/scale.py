"""``python -m experiments.benchmarks.scale``: how a step of L_STCD, its bank and its memory grow with the graph."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.benchmarks.table import show
from kdsearch import command
from kdsearch.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.benchmarks.training import Update
    from kdsearch.distillation.sampled import Sampling
    from kdsearch.models.stgcn import STGCN

__all__ = ["MODES", "Case", "main", "measure", "noise", "parser"]

# What trials are told of the teacher: nothing, a bank of all pairs, one of sampled pairs, the teacher itself.
MODES = ("no KD", "all pairs", "sampled pairs", "live teacher")
LOSS = "stcd"


def counts(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    return [command.positive_int(part) for part in text.split(",")]


def parser() -> command.Parser:
    """The command's arguments."""
    p = command.Parser(
        "python -m experiments.benchmarks.scale",
        "Time a step of L_STCD on simulated graphs of several sizes, for each way of telling a trial of its teacher. "
        "Teacher and student are untrained. Each case is measured in a process of its own.",
    )
    p.add_argument(
        "--nodes", type=counts, default=[228, 500, 1026], metavar="N,N,...", help="sensors (default: %(default)s)"
    )
    p.add_argument("--modes", default=",".join(MODES), metavar="MODE,...", help="which of the four (default: all)")
    p.add_argument("--days", type=command.positive_int, default=34, metavar="N", help="training days to size banks for")
    p.add_argument(
        "--built-days", type=command.positive_int, default=4, metavar="N", help="days that banks are built of"
    )
    p.add_argument(
        "--bank-memory",
        type=command.size,
        default=4 * 10**9,
        metavar="SIZE",
        help="budget a bank is chosen by, in bytes",
    )
    p.add_argument("--batch", type=command.positive_int, default=50, metavar="N", help="windows a step")
    p.add_argument("--threads", type=command.positive_int, default=2, metavar="N", help="of torch")
    p.add_argument("--seconds", type=command.positive_int, default=8, metavar="N", help="to measure a case for")
    p.add_argument("--noise", action="store_true", help="also how far sampled gradients are from full ones")
    p.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    return p


@dataclass(frozen=True)
class Case:
    """One measurement; the fields are the command's arguments."""

    nodes: int
    mode: str
    days: int
    built_days: int
    bank_memory: int
    batch: int
    threads: int
    seconds: float


def measure(case: Case) -> dict[str, Any]:
    """Time and memory of one case.

    Returns:
        ``chosen``: whether a search with this budget would take this way. ``bank_MB``: for ``case.days`` days, counted;
        ``build_s_a_day``: teacher's pass and packing. ``step_ms``: median. ``build_extra_MB``, ``step_extra_MB``: the
        highest resident memory while a bank is built and while steps run, beyond the bank and what the process had.
    """
    import torch

    from experiments.benchmarks import memory
    from experiments.benchmarks.timing import clock, median_ms
    from experiments.benchmarks.training import Update, sensors
    from kdsearch.data import Windows
    from kdsearch.distillation import losses
    from kdsearch.distillation.bank import BankReader, LiveTeacher, TeacherBank, bank_bytes
    from kdsearch.models.stgcn import TEACHER
    from kdsearch.training.network import new_network

    torch.set_num_threads(case.threads)
    needs = losses.get(LOSS).NEEDS
    dataset = sensors(case.nodes, case.built_days)
    teacher = new_network(dataset, TEACHER, 0).eval()
    sampling, chosen = _sampling(teacher, case)
    pairs = _pairs(case, sampling)
    row: dict[str, Any] = {
        "nodes": case.nodes,
        "mode": case.mode,
        "chosen": "yes" if chosen == case.mode else "",
        "pairs_a_row": pairs,
        "bank_MB": None,
        "build_s_a_day": None,
    }
    told: Any = None
    held = 0
    kept = sampling if case.mode == "sampled pairs" else None
    memory.reset_peak()
    before = memory.resident()
    if case.mode in ("all pairs", "sampled pairs"):
        row["bank_MB"] = bank_bytes(teacher, case.days, dataset.steps_per_day, needs, kept) / 1e6
        bank, seconds = clock(lambda: TeacherBank.build(teacher, Windows(dataset, "train").days, needs, kept))
        held = bank.n_bytes
        row["build_s_a_day"] = seconds / case.built_days
        told = BankReader(bank)
    elif case.mode == "live teacher":
        told = LiveTeacher(teacher)
    built = memory.peak() - before - held
    update = Update(dataset, "none" if told is None else LOSS, told, case.batch)
    memory.reset_peak()
    before = memory.resident()
    row["step_ms"] = median_ms(update, case.seconds)
    row["build_extra_MB"] = built / 1e6 if held else None
    row["step_extra_MB"] = (memory.peak() - before) / 1e6
    return row


def _sampling(teacher: STGCN, case: Case) -> tuple[Sampling, str]:
    """The pairs that would be sampled, and the way that a search with the case's budget takes."""
    from kdsearch.distillation import losses
    from kdsearch.distillation.bank import bank_bytes
    from kdsearch.distillation.budget import sampling_for

    needs, steps = losses.get(LOSS).NEEDS, 288
    whole = bank_bytes(teacher, case.days, steps, needs)
    found = sampling_for(teacher, case.days, steps, needs, case.bank_memory, 0)
    chosen = "all pairs" if whole <= case.bank_memory else "live teacher" if found is None else "sampled pairs"
    sampling = found or sampling_for(teacher, case.days, steps, needs, whole - 1, 0)
    if sampling is None:
        raise UserError(f"{case.nodes} sensors have too few pairs to sample some: give more")
    return sampling, chosen


def _pairs(case: Case, sampling: Sampling) -> int | None:
    from kdsearch.distillation.sampled import n_sampled_pairs

    if case.mode == "no KD":
        return None
    n = case.nodes
    return n_sampled_pairs(n, sampling.reach) if case.mode == "sampled pairs" else n * (n - 1) // 2


def noise(case: Case, reaches: Sequence[int] = (1, 4), draws: int = 4, batches: int = 4) -> list[dict[str, Any]]:
    """How far the gradient of L_SCD with sampled pairs is from that with all, beside how far minibatches differ.

    Both are root mean squares over the network's parameters, relative to the full gradient.
    """
    import torch

    from experiments.benchmarks.training import Update, sensors
    from kdsearch.distillation.sampled import n_sampled_pairs
    from kdsearch.models.stgcn import TEACHER
    from kdsearch.training.network import new_network

    torch.set_num_threads(case.threads)
    dataset = sensors(case.nodes, case.built_days)
    teacher = new_network(dataset, TEACHER, 0).eval()
    update = Update(dataset, "none", None, case.batch)
    full = []
    for _ in range(batches):
        update.draw()
        full.append(_scd_gradient(update, teacher, None, 0))
    mean = torch.stack([g for _, g in full]).mean(dim=0)
    spread = torch.stack([(g - mean).square().sum() for _, g in full]).sum() / (batches - 1)
    rows = []
    n = case.nodes
    for reach in (*reaches, _sampling(teacher, case)[0].reach):
        found = [_scd_gradient(update, teacher, reach, seed) for seed in range(draws)]
        value, gradient = full[-1]
        rows.append(
            {
                "nodes": n,
                "reach": reach,
                "pairs_%": 100 * n_sampled_pairs(n, reach) / (n * (n - 1) / 2),
                "loss_error_%": 100 * (sum((v / value - 1) ** 2 for v, _ in found) / draws) ** 0.5,
                "gradient_error_%": 100
                * float(torch.stack([(g - gradient).square().sum() for _, g in found]).mean().sqrt() / gradient.norm()),
                "minibatches_differ_%": 100 * float(spread.sqrt() / mean.norm()),
            }
        )
    return rows


def _scd_gradient(update: Update, teacher: STGCN, reach: int | None, seed: int) -> tuple[float, Tensor]:
    """L_SCD on the update's minibatch and its gradient: all pairs, or a fresh draw."""
    import torch

    from kdsearch.distillation.correlation import SampledRows, spatial_correlation_loss
    from kdsearch.distillation.sampled import SampledCorrelation, draw_orders

    x = update.windows.inputs(*update.windows.locate(update.index)).unsqueeze(-1)
    with torch.no_grad():
        theirs: list[Any] = list(teacher.features(x).spatial)
    if reach is not None:
        for layer, f in enumerate(theirs):
            rows = torch.arange(f.shape[0] * f.shape[1]).view(f.shape[:2])
            order = torch.from_numpy(draw_orders(rows.numel(), f.shape[2], (seed, layer)))
            theirs[layer] = SampledRows(SampledCorrelation.encode(f.flatten(0, 1), order, reach), rows)
    mine = update.model.features(x).spatial
    loss = torch.stack([spatial_correlation_loss(s, t) for s, t in zip(mine, theirs, strict=True)]).mean()
    gradients = torch.autograd.grad(loss, update.params, allow_unused=True)
    return float(loss.detach()), torch.cat([g.flatten() for g in gradients if g is not None]).double()


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure each case in its own process, print."""
    args = parser().parse_args(argv)
    modes = [mode.strip() for mode in args.modes.split(",")]
    for mode in modes:
        if mode not in MODES:
            raise UserError(f"--modes: {mode!r} is not one of {', '.join(MODES)}{command.suggestion(mode, MODES)}")
    if args.bank_memory == "auto":
        raise UserError("--bank-memory: give an amount, such as 4GB; the table must not depend on what is free now")
    shared = (args.days, args.built_days, args.bank_memory, args.batch, args.threads, float(args.seconds))
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    def alone(work: Any, case: Case) -> Any:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            try:
                return pool.submit(work, case).result()
            except BrokenProcessPool:
                raise UserError(f"{case.nodes} sensors, {case.mode}: the process died, probably of memory") from None

    report: dict[str, Any] = {"steps": [], "noise": []}
    for n in args.nodes:
        report["steps"] += [alone(measure, Case(n, mode, *shared)) for mode in modes]
        if args.noise:
            report["noise"] += alone(noise, Case(n, "sampled pairs", *shared))
    show(
        report,
        [
            ("steps", f"A step of L_STCD, batch {args.batch}, {args.threads} threads; banks of {args.days} days"),
            ("noise", "L_SCD with sampled pairs against all pairs, untrained networks"),
        ],
        args.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
