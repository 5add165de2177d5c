"""``python -m experiments.benchmarks.step``: what a training step, a trial and a search cost, against set targets."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kdsearch import command


class Target(NamedTuple):
    """A figure, what it should be, and in words."""

    key: str
    limit: float
    least: bool
    meaning: str

    def met(self, value: float) -> bool:
        return value >= self.limit if self.least else value <= self.limit


TARGETS = (
    Target("stcd_over_none", 2.0, False, "L_STCD step with the bank / step without KD, same student"),
    Target("naive_over_stcd", 300.0, True, "naive L_STCD step / ours"),
    Target("windowed_over_day", 5.0, True, "teacher's features of a day: windows in batches / one pass"),
    Target("bank_bytes", 1.2e9, False, "bank of full PeMSD7 for stcd (34 days, --n-nodes sensors)"),
    Target("validation_over_plain", 0.5, False, "nine-step validation of 1340 windows / plain and windowed"),
    Target("none_over_plain", 0.6, False, "step without KD / the same in a plain Conv2d STGCN"),
    Target("search_overhead", 0.05, False, "share of a search's wall time outside steps and validation"),
    Target("help_seconds", 0.5, False, "python -m kdsearch.tune --help"),
    Target(
        "first_step_seconds",
        8.0,
        False,
        "from the start of kdsearch.tune to a trial's first step, teacher and bank cached",
    ),
)
PARTS = {
    "steps": ("stcd_over_none", "naive_over_stcd", "none_over_plain"),
    "passes": ("windowed_over_day", "bank_bytes"),
    "validation": ("validation_over_plain",),
    "search": ("search_overhead",),
    "startup": ("help_seconds", "first_step_seconds"),
}


def parser() -> command.Parser:
    """The command's arguments."""
    p = command.Parser(
        "python -m experiments.benchmarks.step",
        "Measure training steps, the teacher's passes, validation, a search and its start, on simulated readings. "
        "Each figure is printed with its target. Sides that are compared are repeated in turn; medians count.",
    )
    p.add_argument("--n-nodes", type=command.positive_int, default=228, metavar="N", help="sensors")
    p.add_argument("--batch", type=command.positive_int, default=50, metavar="N", help="windows a step")
    p.add_argument("--repeats", type=command.positive_int, default=25, metavar="N", help="of a step; others fewer")
    p.add_argument(
        "--threads",
        type=command.count_or_auto,
        default="auto",
        metavar="N",
        help="of torch in steps and passes; auto: all",
    )
    p.add_argument("--trials", type=command.positive_int, default=64, metavar="N", help="of the search")
    p.add_argument("--trial-seconds", type=float, default=10.0, metavar="S", help="length of a trial")
    p.add_argument("--at-once", type=command.positive_int, default=2, metavar="N", help="trials at once")
    p.add_argument("--only", action="append", choices=tuple(PARTS), default=[], help="measure this part; repeatable")
    p.add_argument("--json", action="store_true", help="print one JSON object")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print."""
    args = parser().parse_args(argv)
    import torch

    from experiments.benchmarks.workload import Workload

    if args.threads != "auto":
        torch.set_num_threads(args.threads)
    work = Workload(args.n_nodes, args.batch)
    measure = _measures(work, args)
    values: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for part in args.only or PARTS:
        found, took = measure[part]()
        values.update(found)
        seconds.update(took)
    shown = [t for t in TARGETS if t.key in values]
    if args.json:
        figures = {t.key: values[t.key] for t in shown}
        print(json.dumps({**figures, "threads": torch.get_num_threads(), "seconds": seconds}))
    else:
        print(_table(shown, values))
        print(
            f"\nthreads {torch.get_num_threads()}; medians: " + ", ".join(f"{k} {_span(v)}" for k, v in seconds.items())
        )
    return 0


def _measures(work, args) -> dict[str, Callable[[], tuple[dict[str, float], dict[str, float]]]]:
    """By part: its figures, and the seconds they come from."""
    few = min(args.repeats, 3)

    def steps():
        from experiments.benchmarks.steps import steps

        s = steps(work, args.repeats)
        figures = {
            "stcd_over_none": s["stcd"] / s["none"],
            "naive_over_stcd": s["naive"] / s["stcd"],
            "none_over_plain": s["none"] / s["plain"],
        }
        return figures, {f"step {k}": v for k, v in s.items()}

    def passes():
        from experiments.benchmarks.steps import bank_size, passes

        s = passes(work, few)
        figures = {"windowed_over_day": s["windowed"] / s["day"], "bank_bytes": bank_size(work)}
        return figures, {f"teacher {k}": v for k, v in s.items()}

    def validation():
        from experiments.benchmarks.steps import validation

        s = validation(work, few)
        return {"validation_over_plain": s["incremental"] / s["plain"]}, {f"validation {k}": v for k, v in s.items()}

    def search():
        from experiments.benchmarks.overhead import search_overhead

        s = search_overhead(work.objective("stcd"), work.draws(), args.trials, args.trial_seconds, args.at_once)
        return {"search_overhead": s["overhead"]}, {"search": s["wall"], "search busy": s["busy"]}

    def startup():
        from experiments.benchmarks.startup import first_step_seconds, help_seconds

        first, later = first_step_seconds(args.n_nodes, args.batch, few)
        figures = {"help_seconds": help_seconds(min(args.repeats, 5)), "first_step_seconds": later}
        return figures, {"first step, bank made": first}

    return {"steps": steps, "passes": passes, "validation": validation, "search": search, "startup": startup}


def _table(targets: Sequence[Target], values: dict[str, float]) -> str:
    rows = [
        (t.key, f"{values[t.key]:.4g}", f"{'>=' if t.least else '<='} {t.limit:g}", _word(t, values), t.meaning)
        for t in targets
    ]
    rows.insert(0, ("figure", "measured", "target", "met", "meaning"))
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    lines = [
        "| " + " | ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[4]]) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in [*widths, 8]) + "|")
    return "\n".join(lines)


def _word(target: Target, values: dict[str, float]) -> str:
    return "yes" if target.met(values[target.key]) else "no"


def _span(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


if __name__ == "__main__":
    sys.exit(command.run(main))
