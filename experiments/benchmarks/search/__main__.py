"""``python -m experiments.benchmarks.search``: the same search by several programs, and who got how far when."""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.benchmarks.search import curves
from experiments.benchmarks.search.methods import METHODS, installed, read_log, run
from experiments.benchmarks.search.task import Task, save_objective
from kdsearch import command
from kdsearch.errors import UserError

__all__ = ["main", "parser"]

_SETUP = "setup.json"
_LOSS = "stcd"


def parser() -> command.Parser:
    """The command's arguments."""
    p = command.Parser(
        "python -m experiments.benchmarks.search",
        "Give the same trials and the same wall time to kdsearch and to others, in turn, and compare the best "
        "validation score over time. Runs that --output holds are not repeated, so it can be done in parts.",
    )
    p.add_argument("--output", type=Path, default=Path("runs/search-benchmark"), metavar="DIR", help="logs and results")
    p.add_argument("--methods", default=",".join(METHODS), metavar="A,B", help=f"among {', '.join(METHODS)}")
    p.add_argument("--seeds", default="0,1,2", metavar="S,S", help="one search of each method a seed (default: 0,1,2)")
    p.add_argument("--budget", type=command.duration, default=75.0, metavar="T", help="wall time of a search")
    p.add_argument("--epochs", type=command.positive_int, default=12, metavar="N", help="of a full trial")
    p.add_argument("--grace", type=command.positive_int, default=1, metavar="N", help="first rung of kdsearch")
    p.add_argument("--reduction", type=command.positive_int, default=3, metavar="N", help="of kdsearch's rungs")
    p.add_argument("--dataset", default="experiments/benchmarks/search/pemsd7-20-short.toml", metavar="NAME|FILE")
    p.add_argument("--data-dir", type=Path, metavar="DIR", help="where the raw files lie")
    p.add_argument("--teacher-epochs", type=command.positive_int, default=5, metavar="N")
    p.add_argument("--syne-tune-python", default=sys.executable, metavar="PATH", help="a Python that has Syne Tune")
    p.add_argument("--report", action="store_true", help="run nothing, report what --output holds of these")
    p.add_argument("--json", action="store_true", help="print JSON instead of the table")
    p.add_argument("--csv", type=Path, metavar="FILE", help="write the curves")
    p.add_argument("--picture", type=Path, metavar="FILE", help="draw the curves: png, svg or pdf (needs matplotlib)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing, report all.

    Raises:
        UserError: an unknown method, another setup in the output folder, or nothing to report.
    """
    args = parser().parse_args(argv)
    names = [name for name in args.methods.split(",") if name]
    for name in names:
        if name not in METHODS:
            raise UserError(
                f"--methods: {name!r} is not one of {', '.join(METHODS)}{command.suggestion(name, METHODS)}"
            )
    try:
        seeds = [int(seed) for seed in args.seeds.split(",")]
    except ValueError:
        raise UserError(f"--seeds: wants whole numbers such as 0,1,2, not {args.seeds!r}") from None
    output = args.output.resolve()
    absent: list[str] = []
    if not args.report:
        absent = _run_missing(args, output, names, seeds)
    return _report(args, output, names, seeds, absent)


def _setup(args: Namespace) -> dict[str, Any]:
    kept = ("dataset", "budget", "epochs", "grace", "reduction", "teacher_epochs")
    return {"loss": _LOSS, "workers": 2, **{name: getattr(args, name) for name in kept}}


def _run_missing(args: Namespace, output: Path, names: list[str], seeds: list[int]) -> list[str]:
    """Interleaved seed by seed, and each seed begins with another method, so that noise falls on all."""
    prepared, setup = output / "prepared", _setup(args)
    if not (output / _SETUP).is_file():
        _prepare(args, prepared)
        (output / _SETUP).write_text(json.dumps(setup, indent=2) + "\n")
    elif (before := json.loads((output / _SETUP).read_text())) != setup:
        changed = next(name for name in setup if before.get(name) != setup[name])
        raise UserError(
            f"{output} was run with {changed} = {before.get(changed)!r}, not {setup[changed]!r}: give another --output"
        )
    pythons = {"syne_tune": args.syne_tune_python}
    there = [n for n in names if installed(METHODS[n], pythons.get(n, sys.executable))]
    for seed in seeds:
        turn = seed % len(there) if there else 0
        for name in [*there[turn:], *there[:turn]]:
            done = output / f"{name}-{seed}.done.json"
            if done.is_file():
                continue
            log = output / f"{name}-{seed}.jsonl"
            with tempfile.TemporaryDirectory(prefix="kdbench-") as scratch:
                folder = Path(scratch)
                (folder / "out").mkdir()
                task = Task(
                    prepared=str(prepared),
                    output=str(folder / "out"),
                    log=str(log),
                    seed=seed,
                    epochs=args.epochs,
                    grace=args.grace,
                    reduction=args.reduction,
                    budget_s=args.budget,
                    started=0.0,
                )
                began = time.monotonic()
                code = run(METHODS[name], task, folder, pythons.get(name, sys.executable))
                seconds = time.monotonic() - began
                printed = (folder / "printed.txt").read_text(errors="replace")
                (output / f"{name}-{seed}.txt").write_text(printed[-20_000:])
            found = curves.read_run(name, seed, read_log(log), args.budget)
            _say(
                f"{name}, seed {seed}: best {found.best:.4f}, {found.trials} trials, {found.epochs} epochs, exit {code}"
            )
            # One that broke down before its time is no run of the method; the next call repeats it.
            if code and seconds < args.budget:
                _say(f"{name}, seed {seed}: ended after {seconds:.0f} s, see {output / f'{name}-{seed}.txt'}")
            elif found.epochs:
                done.write_text(json.dumps({"method": name, "seed": seed, "exit": code}) + "\n")
    return [name for name in names if name not in there]


def _prepare(args: Namespace, prepared: Path) -> None:
    """Teacher, bank and objective, once for all; a short trial compiles the kernels before any clock runs."""
    from kdsearch.data import Windows, load
    from kdsearch.distillation import losses
    from kdsearch.distillation.bank import TeacherBank
    from kdsearch.distillation.objective import DistillationObjective
    from kdsearch.models.stgcn import TEACHER
    from kdsearch.search import space as spaces
    from kdsearch.training.reference import train_once
    from kdsearch.training.settings import FitSettings

    dataset = load(args.dataset, args.data_dir)
    space = replace(spaces.load(spaces.find("default"), _LOSS), known=())
    settings = FitSettings(epochs=args.teacher_epochs, seed=0)
    _say(f"teacher: {args.teacher_epochs} epochs on {dataset.name}")
    teacher, _ = train_once(
        dataset, "teacher", TEACHER, losses.build("none"), settings, prepared.parent / "cache", "cpu"
    )
    _say(f"teacher: validation {teacher.validation['score']:.4f}")
    days = Windows(dataset, "train").days
    bank = TeacherBank.build(teacher.network(dataset, "cpu"), days, losses.get(_LOSS).NEEDS)
    objective = DistillationObjective(dataset, _LOSS, FitSettings(epochs=args.epochs, seed=0), bank)
    params = {p.name: p.choices[0] if p.choices else p.low for p in space.parameters}
    objective.trainer(space.full(params), "cpu", 0).rehearse()
    save_objective(objective, space, prepared)


def _report(args: Namespace, output: Path, names: list[str], seeds: list[int], absent: list[str]) -> int:
    if not (output / _SETUP).is_file():
        raise UserError(f"--report: {output} holds no run")
    setup = json.loads((output / _SETUP).read_text())
    budget = float(setup["budget"])
    done = [json.loads(file.read_text()) for file in output.glob("*.done.json")]
    done = [d for d in done if d["method"] in names and d["seed"] in seeds]
    done = sorted(done, key=lambda d: (names.index(d["method"]), d["seed"]))
    runs = [
        curves.read_run(d["method"], d["seed"], read_log(output / f"{d['method']}-{d['seed']}.jsonl"), budget)
        for d in done
    ]
    if not runs:
        raise UserError(f"{output} holds no finished run")
    figures = curves.summary(runs, budget)
    labels = {m.name: m.label for m in METHODS.values()}
    if args.csv is not None:
        args.csv.parent.mkdir(parents=True, exist_ok=True)
        curves.write_csv(runs, args.csv)
    if args.picture is not None:
        _draw(args.picture, runs, labels, setup)
    if args.json:
        known = {str(seed): score for seed, score in curves.best_known(runs).items()}
        document = {"setup": setup, "best_known": known, "methods": figures, "not_installed": absent}
        print(json.dumps(_finite(document), indent=2))
    else:
        print(curves.table(figures, labels, budget))
        for name in absent:
            print(f"\n{labels[name]}: not installed")
    return 0


def _finite(value: Any) -> Any:
    """The same with null for what is infinite, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _draw(file: Path, runs: list[curves.Run], labels: dict[str, str], setup: dict[str, Any]) -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError("pictures need matplotlib: pip install -e '.[plots]'") from None
    from experiments.benchmarks.search.drawing import draw

    seeds = sorted({r.seed for r in runs})
    what = f"median and range of {len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}"
    title = f"{Path(setup['dataset']).stem}, {setup['loss']}: {what}, two workers"
    file.parent.mkdir(parents=True, exist_ok=True)
    draw(runs, labels, float(setup["budget"]), title).savefig(file, dpi=150)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(command.run(main))
