"""``python -m experiments.benchmarks.accuracy``: students of the fast L_STCD beside those of the formulas as they read.

The same trainings three times: told by the bank through the fused loss, by the teacher itself through the broadcast
one, and by a bank of sampled pairs. What is compared is what a search sees, the best validation score.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsearch import command

if TYPE_CHECKING:
    from kdsearch.training.checkpoint import Checkpoint

WAYS = ("fast", "plain", "sampled")


def parser() -> command.Parser:
    """The command's arguments."""
    p = command.Parser("python -m experiments.benchmarks.accuracy", __doc__.split("\n\n")[1] if __doc__ else "")
    p.add_argument("--dataset", default="demo", metavar="NAME|FILE", help="as for kdsearch.tune")
    p.add_argument("--data-dir", type=Path, metavar="DIR", help="where the raw files lie")
    p.add_argument("--epochs", type=command.positive_int, default=6, metavar="N", help="of every student")
    p.add_argument("--teacher-epochs", type=command.positive_int, default=16, metavar="N", help="of the teacher")
    p.add_argument("--teacher-run-length", type=command.positive_int, default=10, metavar="N", help="as for tune")
    p.add_argument("--seeds", type=command.positive_int, default=3, metavar="N", help="of every way, from 1")
    p.add_argument("--reach", type=command.positive_int, default=1, metavar="N", help="of the sampled pairs")
    p.add_argument("--jobs", type=command.positive_int, default=2, metavar="N", help="trainings at once, a thread each")
    p.add_argument("--cache-dir", type=Path, metavar="DIR", help="of the teacher")
    p.add_argument("--json", action="store_true", help="print one JSON object")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Train and compare."""
    args = parser().parse_args(argv)
    teacher = _teacher(args)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.jobs, mp_context=context) as pool:
        waiting = {
            (way, seed): pool.submit(student, args, way, seed, teacher)
            for seed in range(1, args.seeds + 1)
            for way in WAYS
        }
        found = {key: future.result() for key, future in waiting.items()}
    if args.json:
        print(json.dumps([{"way": way, "seed": seed, **run} for (way, seed), run in found.items()]))
        return 0
    print(f"{'told':<8}  best validation score of seeds 1 to {args.seeds}{'':<12} mean    seconds")
    for way in WAYS:
        runs = [found[way, seed] for seed in range(1, args.seeds + 1)]
        scores = [run["score"] for run in runs]
        print(
            f"{way:<8}  {'  '.join(f'{s:.4f}' for s in scores)}   {statistics.fmean(scores):.4f}   "
            f"{statistics.fmean(run['seconds'] for run in runs):.0f}"
        )
    return 0


def _teacher(args: Any) -> Checkpoint:
    from kdsearch.data import load
    from kdsearch.distillation import losses
    from kdsearch.models.stgcn import TEACHER
    from kdsearch.training.reference import default_cache, train_once
    from kdsearch.training.settings import FitSettings

    settings = FitSettings(epochs=args.teacher_epochs, run_length=args.teacher_run_length)
    dataset = load(args.dataset, args.data_dir)
    cache = args.cache_dir or default_cache()
    return train_once(dataset, "teacher", TEACHER, losses.build("none"), settings, cache)[0]


def student(args: Any, way: str, seed: int, teacher: Checkpoint) -> dict[str, float]:
    """One training, in a process of its own: best validation score and seconds."""
    import torch

    from kdsearch.data import Windows, load
    from kdsearch.distillation import losses
    from kdsearch.distillation.bank import TeacherBank
    from kdsearch.distillation.objective import DistillationObjective
    from kdsearch.distillation.sampled import Sampling
    from kdsearch.search import space as spaces
    from kdsearch.training.fit import fit
    from kdsearch.training.settings import FitSettings

    torch.set_num_threads(1)
    dataset = load(args.dataset, args.data_dir)
    space = spaces.load(spaces.find(dataset.space), "stcd")
    settings = FitSettings(epochs=args.epochs)
    if way == "plain":
        objective = DistillationObjective(
            dataset, "experiments.benchmarks.naive:NaiveSpaceTime", settings, teacher=teacher
        )
    else:
        sampling = Sampling(args.reach, seed=0) if way == "sampled" else None
        days, needs = Windows(dataset, "train").days, losses.get("stcd").NEEDS
        bank = TeacherBank.build(teacher.network(dataset).eval(), days, needs, sampling)
        objective = DistillationObjective(dataset, "stcd", settings, bank)
    trainer = objective.trainer(space.full(space.known[0] if space.known else {}), "cpu", seed)
    began = time.perf_counter()
    result = fit(trainer)
    return {"score": result.best.score, "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    sys.exit(command.run(main))
