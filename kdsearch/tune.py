"""``python -m kdsearch.tune``: search the hyperparameters of a distillation."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kdsearch import command
from kdsearch.remote import uri

_EXAMPLES = """\
examples:
  python -m kdsearch.tune                                        search stcd on the built-in demo
  python -m kdsearch.tune --dataset sensors.toml --recipe best --teachers 3   a forecaster to be used, of own data
  python -m kdsearch.tune --dataset pemsd7 --loss stcd           the paper's Table 2, downloaded data
  python -m kdsearch.tune --dataset pemsd7 --trials 200 --time-budget 8h --gpus-per-trial 0.25
  python -m kdsearch.tune --dataset pemsd7 --loss ord --set batch_size=50 --confirm 5x5
  python -m kdsearch.tune --dataset pemsd7 --loss stcd --prune 97   a row of Table 3: prune the teacher by 97%
  python -m kdsearch.tune --objective pareto --start base        the front of error and size, on the demo
  python -m kdsearch.tune --dataset pemsd8 --warm-start runs/pemsd7-stcd   begin with what was best elsewhere
  python -m kdsearch.tune --dataset pemsd7 --resume              carry on with runs/pemsd7-stcd
  python -m kdsearch.tune --output s3://bucket/demo --resume     begin there, or carry on from whichever machine
"""


_LOSSES = (
    "distillation loss: stcd, ord, tcd, scd, rd_l2, rd_kl, skd, fitnet, at, nst, none for no KD, or module:Class of "
    "your own"
)


def parser() -> command.Parser:
    """The command's arguments."""
    p = command.Parser(
        command.program("tune"),
        "Search the hyperparameters of a knowledge distillation: train the teacher once, distil trials "
        "under Ray Tune, Optuna and ASHA, confirm the best over several seeds, and store the winner.",
        epilog=_EXAMPLES,
    )
    what = p.add_argument_group("what to search")
    what.add_argument(
        "--dataset", default="demo", metavar="NAME|FILE", help="pemsd7, pemsd8, demo, or a TOML file that declares one"
    )
    what.add_argument("--loss", default="stcd", metavar="NAME", help=_LOSSES)
    what.add_argument(
        "--recipe",
        default="paper",
        choices=("paper", "best"),
        help="paper: one step ahead, as published; best: what was found to forecast best, for use",
    )
    what.add_argument("--space", type=uri.local, metavar="FILE", help="search space instead of the dataset's own")
    what.add_argument(
        "--set",
        type=command.setting,
        action="append",
        default=[],
        dest="fixed",
        metavar="KEY=VALUE",
        help="fix a hyperparameter instead of searching it; repeatable",
    )
    what.add_argument("--data-dir", type=uri.local, metavar="DIR", help="where the raw files lie or are downloaded to")

    prune = p.add_argument_group("pruning (Algorithm 1)")
    prune.add_argument(
        "--prune",
        type=command.percent,
        metavar="PERCENT",
        help="search the pruning of so many percent of all parameters: of the teacher above 90, else of the base model",
    )
    prune.add_argument(
        "--objective",
        default="score",
        choices=("score", "pareto"),
        help="pareto: search the percent too, for the front of validation score and cost",
    )
    prune.add_argument(
        "--cost",
        choices=("parameters", "latency"),
        help="of the front: counted, or a measured forward pass (default: parameters)",
    )
    prune.add_argument(
        "--start", choices=("teacher", "base"), help="network to prune (default: as --prune says; teacher for a front)"
    )
    prune.add_argument(
        "--criterion",
        choices=("kdis", "taylor"),
        help="whose gradients rank channels: KD's, or the task's (default: kdis)",
    )
    prune.add_argument(
        "--granularity", choices=("filter", "weight"), help="remove channels, or zero weights (default: filter)"
    )
    prune.add_argument(
        "--finetune-loss", choices=("kd", "task"), help="of the epochs after the last stage (default: kd)"
    )
    prune.add_argument(
        "--unreachable",
        choices=("error", "nearest"),
        help="where the percent cannot be met within one point: refuse, or take the nearest (default: error)",
    )

    how = p.add_argument_group("how far")
    how.add_argument("--trials", type=command.positive_int, metavar="N", help="total wanted (default: the space's)")
    how.add_argument("--epochs", type=command.positive_int, metavar="N", help="of a full trial (default: the space's)")
    how.add_argument("--time-budget", type=command.duration, metavar="TIME", help="of the trials, e.g. 2h, 30m")
    how.add_argument(
        "--trial-timeout",
        type=command.duration,
        metavar="TIME",
        help="a trial that finishes no epoch for so long hangs and has failed, e.g. 20m (default: none)",
    )
    how.add_argument(
        "--scheduler", default="asha", choices=("asha", "hyperband", "median", "none"), help="early stopping"
    )
    how.add_argument("--sampler", default="tpe", choices=("tpe", "random", "gp", "cmaes", "qmc"), help="of Optuna")
    how.add_argument("--seed", type=command.seed, default=0, metavar="N", help="of everything random")
    how.add_argument(
        "--confirm",
        type=command.confirm,
        metavar="KxS",
        help="retrain the K best at full length with S seeds each (default: the space's)",
    )

    warm = p.add_argument_group("what another search knows")
    warm.add_argument(
        "--warm-start", type=uri.folder, metavar="DIR|URI", help="folder of a search whose best points come first"
    )
    warm.add_argument("--warm-points", type=command.positive_int, metavar="N", help="how many of them (default: 5)")
    warm.add_argument(
        "--warm-prior", action="store_true", help="the sampler (tpe) also learns from the order of its trials"
    )

    where = p.add_argument_group("on what")
    where.add_argument("--concurrency", type=command.count_or_auto, default="auto", metavar="N", help="trials at once")
    where.add_argument(
        "--gpus-per-trial", type=command.fraction_or_auto, default="auto", metavar="SHARE", help="e.g. 0.25; 0 for CPU"
    )
    where.add_argument("--cpus-per-trial", type=command.positive_int, default=1, metavar="N", help="threads of a trial")
    where.add_argument("--address", metavar="ADDRESS", help="join a Ray cluster: auto, or host:port")
    where.add_argument(
        "--bank-memory",
        type=command.size,
        default="auto",
        metavar="SIZE",
        help="of the teacher bank, e.g. 4GB; where all pairs do not fit, it keeps a sample of them",
    )

    teacher = p.add_argument_group("teacher")
    teacher.add_argument(
        "--teachers", type=command.positive_int, default=1, metavar="N", help="how many: students learn from their mean"
    )
    teacher.add_argument(
        "--teacher-epochs", type=command.positive_int, metavar="N", help="of its training (default: the space's)"
    )
    teacher.add_argument(
        "--teacher-run-length",
        type=command.positive_int,
        metavar="N",
        help="consecutive windows drawn together when it is trained; 1 draws each alone (default: the space's)",
    )
    teacher.add_argument(
        "--cache-dir", type=uri.local, metavar="DIR", help="trained teachers (default: the user's cache)"
    )

    out = p.add_argument_group("output")
    out.add_argument(
        "--output",
        type=uri.folder,
        metavar="DIR|URI",
        help="folder, or s3://, gs://, hdfs://, abfs:// or file:// "
        "(default: runs/<dataset>-<loss>[-prune<percent>|-pareto][-best])",
    )
    out.add_argument("--resume", action="store_true", help="carry on with the search in the output folder")
    out.add_argument(
        "--store", type=uri.local, metavar="DIR", help="store of best configurations (default: experiments/best)"
    )
    loud = out.add_mutually_exclusive_group()
    loud.add_argument("--quiet", action="store_true", help="only the result and warnings")
    loud.add_argument("--verbose", action="store_true", help="a line an epoch, with every part of the loss")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, check, search."""
    args = vars(parser().parse_args(argv))
    args["fixed"] = command.settings(args["fixed"])
    if isinstance(args["output"], uri.Uri):
        args["uri"], args["output"] = args["output"], None
    from kdsearch.job.run import run_job
    from kdsearch.job.settings import JobSettings

    given = sys.argv[1:] if argv is None else argv
    return run_job(JobSettings(**args, command=uri.command_line("kdsearch.tune", given)))


if __name__ == "__main__":
    sys.exit(command.run(main))
