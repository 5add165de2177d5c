"""``python -m experiments.benchmarks.forward``: how long a found network takes to forecast, beside the teacher."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdsearch import command
from kdsearch.contents import WINNER

__all__ = ["main", "measure", "parser"]


def parser() -> command.Parser:
    """The command's arguments."""
    p = command.Parser(
        "python -m experiments.benchmarks.forward",
        "Time one-step forecasts of a search's winner, of the published student and of the teacher, in turn, on the "
        "same random windows. The published networks are untrained: their weights do not change the time.",
    )
    p.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of a finished search")
    p.add_argument("--dataset", metavar="NAME|FILE", help="the search's own (default: the name in best.json)")
    p.add_argument("--data-dir", type=Path, metavar="DIR", help="where the raw files lie")
    p.add_argument("--batch", type=command.positive_int, default=1140, metavar="N", help="windows in a pass")
    p.add_argument("--runs", type=command.positive_int, default=100, metavar="N", help="passes of each network")
    p.add_argument("--rounds", type=command.positive_int, default=10, metavar="N", help="how often they take turns")
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where to run")
    p.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return p


def measure(networks: dict[str, Any], batch: int, runs: int, rounds: int) -> dict[str, dict[str, float]]:
    """Mean and median seconds of ``runs`` passes of each network, in ``rounds`` turns so that all share the noise."""
    from kdsearch.training.latency import forward_time

    share = max(1, runs // rounds)
    timed: dict[str, list[Any]] = {name: [] for name in networks}
    for _ in range(max(1, runs // share)):
        for name, network in networks.items():
            timed[name].append(forward_time(network, batch, share))
    return {
        name: {
            "parameters": networks[name].n_parameters(),
            "mean_s": statistics.fmean(t.mean for t in turns),
            "median_s": statistics.median(t.median for t in turns),
            "runs": sum(t.runs for t in turns),
        }
        for name, turns in timed.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, load, measure, print."""
    args = parser().parse_args(argv)
    from kdsearch.data import load
    from kdsearch.models.stgcn import STUDENT, TEACHER
    from kdsearch.results.best import dataset_of, read_best
    from kdsearch.training.checkpoint import load_checkpoint
    from kdsearch.training.network import new_network

    document = read_best(args.output)
    name = args.dataset or dataset_of(document, args.output)
    dataset = load(name, args.data_dir)
    winner = load_checkpoint(args.output / WINNER).network(dataset)
    networks = {
        "teacher": new_network(dataset, TEACHER, 0),
        "published student": new_network(dataset, STUDENT, 0),
        "winner": winner,
    }
    found = measure({n: m.to(args.device).eval() for n, m in networks.items()}, args.batch, args.runs, args.rounds)
    teacher = found["teacher"]
    for row in found.values():
        row["teacher_over_this"] = teacher["median_s"] / row["median_s"]
    if args.json:
        print(json.dumps({"batch": args.batch, "device": args.device, "networks": found}, indent=2))
        return 0
    print(f"{dataset.name}, batch of {args.batch} windows, {args.device}")
    print(f"{'network':<20}{'parameters':>12}{'mean s':>10}{'median s':>10}{'runs':>6}{'teacher / this':>16}")
    for label, row in found.items():
        print(
            f"{label:<20}{row['parameters']:>12,}{row['mean_s']:>10.4f}{row['median_s']:>10.4f}{row['runs']:>6}"
            f"{row['teacher_over_this']:>16.1f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
