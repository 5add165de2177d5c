"""``python -m experiments.shipping``: is the student worth shipping? Networks by recipe and loss, over several seeds.

Everything that was trained lies in a cache, so the command can be stopped, called again, and made to print its table
from what is there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kdsearch import command

_EXAMPLES = """\
examples:
  python -m experiments.shipping --dataset experiments/datasets/pemsd7-20.toml
  python -m experiments.shipping --dataset experiments/datasets/pemsd7-week.toml --teachers 1 --seeds 3
"""


def parser() -> command.Parser:
    """The command's arguments."""
    p = command.Parser(
        "python -m experiments.shipping",
        "Train teachers and students as the paper does and by the best recipe, with and without KD, and compare them "
        "on the test days: means, deviations, and paired tests over the seeds.",
        epilog=_EXAMPLES,
    )
    p.add_argument("--dataset", default="demo", metavar="NAME|FILE", help="as for kdsearch.tune")
    p.add_argument("--data-dir", type=Path, metavar="DIR", help="where the raw files lie")
    p.add_argument("--seeds", type=command.positive_int, default=5, metavar="N", help="of every student")
    p.add_argument("--teachers", type=command.positive_int, default=3, metavar="N", help="in the ensemble")
    p.add_argument("--epochs", type=command.positive_int, default=16, metavar="N", help="of every network")
    p.add_argument("--teacher-run-length", type=command.positive_int, default=10, metavar="N", help="as for tune")
    p.add_argument("--learning-rate", type=float, default=3e-3, metavar="R", help="of students under the best recipe")
    p.add_argument(
        "--set",
        type=command.setting,
        action="append",
        default=[],
        dest="fixed",
        metavar="KEY=VALUE",
        help="hyperparameter of L_STCD under the best recipe, instead of the space's first; repeatable",
    )
    p.add_argument("--rows", metavar="A,B", help="train and show these only (default: all)")
    p.add_argument("--jobs", type=command.positive_int, default=2, metavar="N", help="trainings at once, a thread each")
    p.add_argument("--cache-dir", type=Path, metavar="DIR", help="of trained networks and results")
    p.add_argument("--output", type=Path, metavar="DIR", help="(default: runs/<dataset>-shipping)")
    p.add_argument("--table", action="store_true", help="train nothing, show what the cache holds")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, write the table."""
    args = parser().parse_args(argv)
    fixed = command.settings(args.fixed)
    from experiments.students.rows import ROWS, choose
    from experiments.students.study import Setup, run
    from experiments.students.summary import write

    rows = choose(args.rows) if args.rows else ROWS
    setup = Setup.checked(
        dataset=args.dataset,
        data_dir=args.data_dir,
        epochs=args.epochs,
        teachers=args.teachers,
        seeds=args.seeds,
        run_length=args.teacher_run_length,
        rate=args.learning_rate,
        fixed=fixed,
        cache=args.cache_dir,
    )
    found = run(setup, rows, args.jobs, train=not args.table)
    output = args.output or Path("runs") / f"{setup.name}-shipping"
    print(write(setup, found, output))
    print(f"written to {output}")
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
