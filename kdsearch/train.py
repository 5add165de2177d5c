"""``python -m kdsearch.train``: train one network without a search."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kdsearch import command
from kdsearch.remote import uri

_EXAMPLES = """\
examples:
  python -m kdsearch.train --dataset pemsd7 --model teacher            train (or fetch) the teacher
  python -m kdsearch.train --params runs/demo-stcd/best.json           the winner of a search, once more
  python -m kdsearch.train --dataset pemsd7 --loss stcd --seeds 5      the paper's point, five seeds
"""


def parser() -> command.Parser:
    """The command's arguments."""
    p = command.Parser(
        command.program("train"),
        "Train a teacher, a base model or a student with given hyperparameters, over one or several seeds.",
        epilog=_EXAMPLES,
    )
    what = p.add_argument_group("what to train")
    what.add_argument("--dataset", metavar="NAME|FILE", help="as for tune (default: that of --params, else demo)")
    what.add_argument(
        "--model", default="student", choices=("teacher", "base", "student"), help="architecture of Table 1"
    )
    what.add_argument("--loss", metavar="NAME", help="of a student (default: that of --params, else none)")
    what.add_argument(
        "--params", type=uri.local, metavar="FILE", help="best.json, whose hyperparameters and seeds are taken"
    )
    what.add_argument(
        "--set",
        type=command.setting,
        action="append",
        default=[],
        dest="fixed",
        metavar="KEY=VALUE",
        help="a hyperparameter, instead of the space's first known point; repeatable",
    )
    what.add_argument("--data-dir", type=uri.local, metavar="DIR", help="where the raw files lie or are downloaded to")
    how = p.add_argument_group("how")
    how.add_argument(
        "--epochs", type=command.positive_int, metavar="N", help="(default: of --params, else the space's)"
    )
    how.add_argument(
        "--teacher-epochs", type=command.positive_int, metavar="N", help="of a student's teacher (default: likewise)"
    )
    how.add_argument("--recipe", choices=("paper", "best"), help="as for tune (default: that of --params, else paper)")
    how.add_argument("--seeds", type=command.positive_int, metavar="N", help="how many (default: of --params, else 1)")
    how.add_argument("--seed", type=command.seed, metavar="N", help="the first of them (default: of --params, else 0)")
    how.add_argument("--test", action="store_true", help="also measure on the test days; not for choosing anything")
    how.add_argument("--cache-dir", type=uri.local, metavar="DIR", help="trained teachers (default: your cache)")
    how.add_argument(
        "--bank-memory", type=command.amount, default="4GB", metavar="SIZE", help="of the teacher bank (default: 4GB)"
    )
    how.add_argument("--output", type=uri.local, metavar="DIR", help="(default: runs/<dataset>-<model>-<loss>-train)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, check, train."""
    args = vars(parser().parse_args(argv))
    args["fixed"] = command.settings(args["fixed"])
    from kdsearch.job.train import TrainSettings, run_training

    given = sys.argv[1:] if argv is None else argv
    return run_training(TrainSettings(**args, command=uri.command_line("kdsearch.train", given)))


if __name__ == "__main__":
    sys.exit(command.run(main))
