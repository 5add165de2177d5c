"""``python -m experiments.benchmarks.gpu``: what an update costs on a device, and how far that is from its roofline.

Needs torch only. It also runs on the CPU, with small defaults, to show that it works.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from experiments.benchmarks.table import show
from kdsearch import command
from kdsearch.errors import UserError

if TYPE_CHECKING:
    import torch

    from experiments.benchmarks.training import Update
    from kdsearch.data import Dataset
    from kdsearch.models.stgcn import STGCN

__all__ = ["VARIANTS", "main", "parser"]

LOSS = "stcd"
VARIANTS = ("eager", "compiled", "graph")


def counts(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    return [command.positive_int(part) for part in text.split(",")]


def parser() -> command.Parser:
    """The command's arguments."""
    p = command.Parser(
        "python -m experiments.benchmarks.gpu",
        "Updates a second without KD and with L_STCD, the teacher's pass over a day, trials that share the device, "
        "peak memory, kernel launches, and the distance from the roofline. Sensors are simulated, networks untrained.",
    )
    p.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto", help="auto takes a GPU if there is one")
    p.add_argument("--nodes", type=command.positive_int, metavar="N", help="sensors (default: 228; 60 on the CPU)")
    p.add_argument("--batch", type=command.positive_int, default=50, metavar="N", help="windows an update")
    p.add_argument("--days", type=command.positive_int, metavar="N", help="days in the bank (default: 4; 1 on the CPU)")
    p.add_argument(
        "--seconds",
        type=command.positive_int,
        metavar="N",
        help="to measure each figure for (default: 5; 1 on the CPU)",
    )
    p.add_argument(
        "--trials",
        type=counts,
        metavar="N,N,...",
        help="processes that share the device (default: 1,2,4,8; 1,2 on the CPU)",
    )
    p.add_argument("--variants", metavar="NAME,...", help=f"of {', '.join(VARIANTS)} (default: all; eager on the CPU)")
    p.add_argument("--bandwidth", type=float, metavar="GB/s", help="of the device's memory (default: a measured copy)")
    p.add_argument(
        "--flops", type=float, metavar="TFLOP/s", help="of the device in float32 (default: a measured product)"
    )
    p.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, print."""
    args = parser().parse_args(argv)
    variants = None if args.variants is None else [name.strip() for name in args.variants.split(",")]
    for name in variants or ():
        if name not in VARIANTS:
            raise UserError(
                f"--variants: {name!r} is not one of {', '.join(VARIANTS)}{command.suggestion(name, VARIANTS)}"
            )
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no GPU here; --device cpu shows that the command works")
    cuda = args.device != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    nodes, days = args.nodes or (228 if cuda else 60), args.days or (4 if cuda else 1)
    seconds = float(args.seconds or (5 if cuda else 1))
    variants = variants or (list(VARIANTS) if cuda else ["eager"])
    trials = args.trials or ([1, 2, 4, 8] if cuda else [1, 2])

    from experiments.benchmarks.device import name_of, peak_bandwidth, peak_flops
    from experiments.benchmarks.sharing import share_device
    from experiments.benchmarks.training import sensors

    bandwidth = args.bandwidth * 1e9 if args.bandwidth else peak_bandwidth(device)
    flops = args.flops * 1e12 if args.flops else peak_flops(device)
    dataset = sensors(nodes, days)
    report: dict[str, Any] = {
        "device": name_of(device),
        "torch": torch.__version__,
        "nodes": nodes,
        "batch": args.batch,
        "bandwidth_GBps": bandwidth / 1e9,
        "bandwidth_from": "given" if args.bandwidth else "measured copy",
        "flops_TFLOPps": flops / 1e12,
        "flops_from": "given" if args.flops else "measured product",
    }
    report["teacher"], teacher = _teacher(dataset, device, seconds, flops, bandwidth)
    told = _told(teacher, dataset, device)
    report["count"] = _counted(nodes, args.batch, flops, bandwidth)
    report["updates"] = [
        _updates(dataset, loss, told if loss == LOSS else None, variant, args.batch, device, seconds, flops, bandwidth)
        for loss in ("none", LOSS)
        for variant in variants
    ]
    del told, teacher
    report["sharing"] = share_device(trials, dataset, LOSS, args.batch, str(device), seconds)
    if not args.json:
        print(
            f"{report['device']}, torch {report['torch']}, {nodes} sensors, batch {args.batch}; "
            f"{report['bandwidth_GBps']:.0f} GB/s ({report['bandwidth_from']}), "
            f"{report['flops_TFLOPps']:.2f} TFLOP/s ({report['flops_from']})"
        )
    sections = [
        ("count", "What an update cannot do without, counted"),
        ("updates", "Updates; least_ms is the roofline's time and distance how many times slower"),
        ("teacher", "The teacher's pass over a day"),
        ("sharing", "Trials that share the device, a process each"),
    ]
    show(report, sections, args.json)
    return 0


def _teacher(
    dataset: Dataset, device: torch.device, seconds: float, flops: float, bandwidth: float
) -> tuple[list[dict[str, Any]], STGCN]:
    import torch

    from experiments.benchmarks.cost import least_seconds, pass_cost
    from experiments.benchmarks.device import Peak, synchronised
    from experiments.benchmarks.timing import median_ms
    from kdsearch.data import Windows
    from kdsearch.models.stgcn import TEACHER
    from kdsearch.training.network import new_network

    model = new_network(dataset, TEACHER, 0).to(device).eval()
    day = Windows(dataset, "train", device).days[:1].unsqueeze(-1)

    @torch.no_grad()
    def once() -> object:
        return model.features(day)

    peak = Peak(device)
    taken = median_ms(synchronised(once, device), seconds)
    least = 1e3 * least_seconds(pass_cost(TEACHER, dataset.n_nodes, dataset.steps_per_day), flops, bandwidth)
    row = {"day_ms": taken, "least_ms": least, "distance": taken / least, "peak_MB": peak.bytes() / 1e6}
    return [row], model


def _told(teacher: STGCN, dataset: Dataset, device: torch.device) -> Callable[..., Any]:
    from kdsearch.data import Windows
    from kdsearch.distillation import losses
    from kdsearch.distillation.bank import BankReader, TeacherBank

    bank = TeacherBank.build(teacher, Windows(dataset, "train", device).days, losses.get(LOSS).NEEDS)
    return BankReader(bank, device)


def _counted(n: int, batch: int, flops: float, bandwidth: float) -> list[dict[str, Any]]:
    from experiments.benchmarks.cost import least_seconds, update_cost
    from kdsearch.models.stgcn import STUDENT

    return [
        {
            "part": part,
            "GFLOP": cost.flops / 1e9,
            "MB": cost.bytes / 1e6,
            "flops_a_byte": cost.flops / cost.bytes,
            "least_ms": 1e3 * least_seconds(cost, flops, bandwidth),
            "bound_by": "operations" if cost.flops / flops > cost.bytes / bandwidth else "memory",
        }
        for part, cost in update_cost(STUDENT, n, batch, n * (n - 1) // 2).items()
    ]


def _updates(
    dataset: Dataset,
    loss: str,
    told: Callable[..., Any] | None,
    variant: str,
    batch: int,
    device: torch.device,
    seconds: float,
    flops: float,
    bandwidth: float,
) -> dict[str, Any]:
    """One row; a variant that this device or torch cannot do says why instead of figures."""
    from experiments.benchmarks.cost import least_seconds, update_cost
    from experiments.benchmarks.device import Peak, launches, rate
    from experiments.benchmarks.training import Update
    from kdsearch.models.stgcn import STUDENT

    row: dict[str, Any] = {"loss": loss, "variant": variant}
    peak = Peak(device)
    try:
        step = _variant(variant, Update(dataset, loss, told, batch, device), device)
        row["updates_a_s"] = rate(step, seconds, device)
    except Exception as problem:  # whatever a compiler or a capture fails with: the other rows still count
        row["remark"] = f"{type(problem).__name__}: {str(problem).splitlines()[0][:100] if str(problem) else ''}"
        return row
    n = dataset.n_nodes
    pairs = n * (n - 1) // 2 if loss == LOSS else None
    least = sum(least_seconds(cost, flops, bandwidth) for cost in update_cost(STUDENT, n, batch, pairs).values())
    row["ms"] = 1e3 / row["updates_a_s"]
    row["least_ms"] = 1e3 * least
    row["distance"] = row["ms"] / row["least_ms"]
    row["peak_MB"] = peak.bytes() / 1e6
    return row | launches(step, device)


def _variant(name: str, update: Update, device: torch.device) -> Callable[[], object]:
    """An update as it is, with the network compiled, or replayed as one captured CUDA graph."""
    import torch

    if name == "compiled":
        features = torch.compile(update.model.features, mode="reduce-overhead")
        update.features = features
        return update
    if name == "eager":
        return update
    if device.type != "cuda":
        raise UserError("graphs are captured on CUDA only")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # allocates the optimiser's state, compiles kernels
            update()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update.compute()

    def replay() -> None:
        update.draw()
        graph.replay()

    return replay


if __name__ == "__main__":
    sys.exit(command.run(main))
