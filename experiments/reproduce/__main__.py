"""``python -m experiments.reproduce``: rebuild what the paper shows."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from importlib.util import find_spec

from kdsearch import command
from kdsearch.errors import UserError
from kdsearch.remote import uri

TABLES = range(1, 9)
OURS = ("shipping",)
FIGURES = (3, 4)

_EXAMPLES = """\
examples:
  python -m experiments.reproduce --dataset pemsd7                       everything, as long as the paper trained
  python -m experiments.reproduce --dataset demo --quick                 everything, in minutes
  python -m experiments.reproduce --dataset pemsd7 --tables 2,4 --figures none
  python -m experiments.reproduce --dataset my-sensors.toml --tables shipping --figures shipping
"""
# What --quick sets where nothing else is said.
QUICK = {"seeds": 2, "epochs": 3, "teacher_epochs": 3, "timing_runs": 10}


def numbers(known: Sequence[int], names: Sequence[str] = ()) -> Callable[[str], tuple[int | str, ...]]:
    """An argument type for lists such as ``1-3,5``, ``all``, which is all numbers, or ``none``; ``names`` may be in."""

    def parse(text: str) -> tuple[int | str, ...]:
        if text in ("all", "none"):
            return tuple(known) if text == "all" else ()
        found: list[int | str] = []
        for part in text.split(","):
            if part.strip() in names:
                found.append(part.strip())
                continue
            match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
            if match is None:
                raise argparse.ArgumentTypeError(f"wants numbers such as 1,4-6, all or none, not {text!r}")
            first, last = int(match[1]), int(match[2] or match[1])
            found += range(first, last + 1)
        wrong = [n for n in found if n not in (*known, *names)]
        if wrong:
            raise argparse.ArgumentTypeError(f"there is no {wrong[0]}, only {', '.join(map(str, (*known, *names)))}")
        return tuple(dict.fromkeys(found))

    return parse


def parser() -> command.Parser:
    """The command's arguments."""
    p = command.Parser(
        "python -m experiments.reproduce",
        "Rebuild tables and figures of the paper on any dataset: train what is missing, take the rest from the cache.",
        epilog=_EXAMPLES,
    )
    what = p.add_argument_group("what")
    what.add_argument("--dataset", default="demo", metavar="NAME|FILE", help="pemsd7, pemsd8, demo, or a TOML file")
    what.add_argument("--data-dir", type=uri.local, metavar="DIR", help="where the raw files lie or are downloaded to")
    what.add_argument(
        "--tables",
        type=numbers(TABLES, OURS),
        metavar="LIST",
        help="such as 1,4-6, or shipping: by recipe and with several teachers (default: all of the paper)",
    )
    what.add_argument(
        "--figures",
        type=numbers(FIGURES, OURS),
        metavar="LIST",
        help="3, 4, shipping, or none (default: all of the paper)",
    )
    what.add_argument(
        "--skip",
        type=lambda text: tuple(part.strip() for part in text.split(",") if part.strip()),
        metavar="ROWS",
        help="rows to leave out, such as astgcn,best-stcd",
    )
    how = p.add_argument_group("how long")
    how.add_argument("--seeds", type=command.positive_int, metavar="N", help="trainings of each row (default: 5)")
    how.add_argument("--seed", type=command.seed, default=0, metavar="N", help="of teacher and base model")
    how.add_argument("--teachers", type=command.positive_int, default=3, metavar="N", help="in a mean of teachers")
    how.add_argument("--epochs", type=command.positive_int, metavar="N", help="of every student (default: the space's)")
    how.add_argument("--teacher-epochs", type=command.positive_int, metavar="N", help="(default: the space's)")
    how.add_argument("--teacher-run-length", type=command.positive_int, metavar="N", help="as for tune")
    how.add_argument("--astgcn-epochs", type=command.positive_int, metavar="N", help="(default: as the students)")
    how.add_argument("--timing-batch", type=command.positive_int, default=1140, metavar="N", help="windows, of Table 1")
    how.add_argument("--timing-runs", type=command.positive_int, metavar="N", help="passes, of Table 1 (default: 100)")
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in QUICK.items())
    how.add_argument("--quick", action="store_true", help=f"a trial run: {told}, where not given")
    where = p.add_argument_group("where")
    where.add_argument("--output", type=uri.local, metavar="DIR", help="(default: runs/<dataset>-reproduce)")
    where.add_argument("--resume", action="store_true", help="carry on; refuse other lengths than it was begun with")
    where.add_argument(
        "--cache-dir", type=uri.local, metavar="DIR", help="trained networks (default: the user's cache)"
    )
    where.add_argument("--records", type=uri.local, metavar="FILE", help="records.jsonl of earlier trainings to reuse")
    where.add_argument("--show", action="store_true", help="train nothing: show the rows that are finished")
    where.add_argument("--store", type=uri.local, metavar="DIR", help="of best configurations")
    where.add_argument("--dpi", type=command.positive_int, default=150, metavar="N", help="dots an inch of a picture")
    where.add_argument(
        "--concurrency", type=command.count_or_auto, default="auto", metavar="N", help="trainings at once"
    )
    where.add_argument(
        "--gpus-per-trial", type=command.fraction_or_auto, default="auto", metavar="SHARE", help="as tune"
    )
    where.add_argument("--cpus-per-trial", type=command.positive_int, default=1, metavar="N", help="threads of each")
    where.add_argument(
        "--bank-memory",
        type=command.amount,
        default="4GB",
        metavar="SIZE",
        help="of a bank; larger ones are sampled",
    )
    where.add_argument("--address", metavar="ADDRESS", help="of a Ray cluster, or auto")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, check, train, write.

    Raises:
        UserError: whatever its user can mend.
    """
    args = vars(parser().parse_args(argv))
    quick = args.pop("quick")
    usual = {"tables": tuple(TABLES), "figures": FIGURES, "skip": (), "seeds": 5, "timing_runs": 100}
    for name, value in {**usual, **(QUICK if quick else {})}.items():
        if args[name] is None:
            args[name] = value
    for name in ("matplotlib", "statsmodels"):
        if find_spec(name) is None:
            raise UserError(f"{name} is missing: pip install -e '.[reproduce]'")
    from experiments.reproduce.run import reproduce
    from experiments.reproduce.settings import Settings

    line = uri.command_line("experiments.reproduce", sys.argv[1:] if argv is None else argv)
    return reproduce(Settings(**{f.name: args[f.name] for f in fields(Settings) if f.name in args}, command=line))


if __name__ == "__main__":
    sys.exit(command.run(main))
