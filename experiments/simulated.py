"""``python -m experiments.simulated``: the simulator of ``demo`` at any size, as a dataset that commands can be given.

For what a laptop's demo is too small to show: 228 sensors over 44 weekdays are as much as the published PeMSD7.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kdsearch import command
from kdsearch.remote import uri

__all__ = ["main", "parser"]

_TOML = """\
# {sensors} simulated sensors over {days} weekdays, made by: python -m experiments.simulated --sensors {sensors} \
--days {days} --seed {seed}
name = "{name}"

[speeds]
file = "{name}.npy"

[graph]
file = "{name}-distances.csv"

[split]
train = {train}
validation = {rest}
test = {rest}
"""


def parser() -> command.Parser:
    """The command's arguments."""
    p = command.Parser(
        "python -m experiments.simulated",
        "Simulate detectors on freeways, as the built-in demo does, and write them as a dataset for --dataset.",
    )
    p.add_argument("--sensors", type=command.positive_int, default=228, metavar="N", help="detectors")
    p.add_argument("--days", type=_days, default=44, metavar="N", help="weekdays; a ninth each for validation and test")
    p.add_argument("--seed", type=command.seed, default=7, metavar="N", help="of the simulation")
    p.add_argument("--output", type=uri.local, default=Path("runs/simulated"), metavar="DIR", help="gets three files")
    return p


def _days(text: str) -> int:
    import argparse

    days = command.positive_int(text)
    if days < 3:
        raise argparse.ArgumentTypeError(f"wants 3 or more, for training, validation and test, not {text}")
    return days


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, write the readings, the distances and the declaration.

    Raises:
        UserError: the folder cannot be written.
    """
    args = parser().parse_args(argv)
    import io

    import numpy as np

    from kdsearch.data.simulate import simulate
    from kdsearch.errors import UserError
    from kdsearch.results.files import write_text

    made = simulate(args.sensors, args.days, args.seed)
    name, rest = f"simulated-{args.sensors}-{args.days}-{args.seed}", max(1, args.days // 9)
    table = io.StringIO()
    np.savetxt(table, made.distances, "%.1f", ",")
    write_text(args.output / f"{name}-distances.csv", table.getvalue())
    try:
        np.save(args.output / f"{name}.npy", made.speeds.reshape(-1, args.sensors))
    except OSError as error:
        raise UserError(f"{args.output}: cannot be written ({error.strerror})") from error
    path = args.output / f"{name}.toml"
    text = _TOML.format(
        sensors=args.sensors, days=args.days, seed=args.seed, name=name, rest=rest, train=args.days - 2 * rest
    )
    write_text(path, text)
    print(f"python -m kdsearch.tune --dataset {path}")
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
