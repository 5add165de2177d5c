"""``python -m kdsearch.predict``: the next 45 minutes from the last hour of readings."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kdsearch import command
from kdsearch.errors import UserError
from kdsearch.remote import uri

__all__ = ["main", "parser"]

_EXAMPLES = """\
examples:
  python -m kdsearch.predict --model runs/my-sensors-stcd --readings recent.csv
  python -m kdsearch.predict --model student.onnx --readings recent.csv --format json --file forecast.json
"""


def parser() -> command.Parser:
    """The command's arguments."""
    p = command.Parser(
        command.program("predict"),
        "Forecast all sensors from their latest readings with a trained or exported network.",
        epilog=_EXAMPLES,
    )
    what = p.add_argument_group("what to forecast with")
    what.add_argument(
        "--model",
        type=uri.folder,
        metavar="PATH|URI",
        help="(needed) folder of a finished search, a checkpoint, or an exported .onnx or .pt2",
    )
    what.add_argument(
        "--dataset", metavar="NAME|FILE", help="of a checkpoint of an earlier version, which does not hold its graph"
    )
    what.add_argument("--data-dir", type=uri.local, metavar="DIR", help="where that dataset's raw files lie")
    read = p.add_argument_group("what to forecast from")
    read.add_argument(
        "--readings",
        type=uri.local,
        metavar="FILE",
        help="(needed) csv, npz or npy: a row a time step, oldest first, at least the last 12; sensors, unit and "
        "missing readings as in the dataset",
    )
    read.add_argument("--key", metavar="NAME", help="the array's name in an npz with several")
    read.add_argument("--channel", type=command.non_negative_int, metavar="N", help="of an array [T, N, C], from 0")
    read.add_argument(
        "--skip-columns", type=command.non_negative_int, default=0, metavar="N", help="leading csv columns to leave out"
    )
    read.add_argument(
        "--time",
        type=command.time_of_day,
        dest="minute",
        metavar="HH:MM",
        help="of the last reading; needed by networks of --recipe best, which know how a day usually goes",
    )
    out = p.add_argument_group("what to write")
    out.add_argument("--format", choices=("csv", "json"), default="csv", help="a row a time step, or one object")
    out.add_argument("--file", type=uri.local, metavar="PATH", help="write there, not to the terminal")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, forecast."""
    arguments = vars(parser().parse_args(argv))
    missing = [f"--{name}" for name in ("model", "readings") if arguments[name] is None]
    if missing:
        raise UserError(f"{' and '.join(missing)} must be given; {command.program('predict')} --help shows examples")
    from kdsearch.deploy.predict import PredictSettings, run_predict
    from kdsearch.remote.hand import at_hand

    with at_hand(arguments.pop("model"), "--model") as model:
        return run_predict(PredictSettings(model=model, **arguments))


if __name__ == "__main__":
    sys.exit(command.run(main))
