"""The command that hands results on: tables (``--format tex``), and the winner itself (``--model onnx``)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdsearch.command import Parser, program, run
from kdsearch.errors import UserError, suggestion
from kdsearch.remote import uri
from kdsearch.remote.uri import Uri, folder

if TYPE_CHECKING:
    from kdsearch.results.formats import Table
    from kdsearch.results.result import Result

__all__ = ["main", "parser"]

_EXAMPLES = """\
examples:
  python -m kdsearch.export --output runs/demo-stcd --format tex     the tables of a search
  python -m kdsearch.export --dataset pemsd7 --paper                 those of the store, beside the paper's
  python -m kdsearch.export --output runs/demo-stcd --model onnx     the winner, for any ONNX runtime
"""
TABLES = ("auto", "best", "2", "3", "comparison", "front")


def parser() -> Parser:
    """The command line."""
    out = Parser(
        program("export"),
        "Print the tables of finished searches, or of the store of best configurations; or write the winner of a "
        "search as a model that needs no kdsearch.",
        epilog=_EXAMPLES,
    )
    source = out.add_argument_group("what to read (--output or --dataset)")
    source.add_argument(
        "--output",
        metavar="DIR|URI",
        type=folder,
        action="append",
        default=[],
        help="folder of a search, or of several searches, or a best.json; may be repeated. With --model one search, or "
        "a checkpoint",
    )
    source.add_argument(
        "--dataset",
        metavar="NAME",
        help="all best configurations stored for this dataset. With --model the name or TOML file of the search's "
        "dataset, for a checkpoint of an earlier version",
    )
    source.add_argument(
        "--store",
        metavar="DIR",
        type=uri.local,
        help="where they are stored, if not in KDSEARCH_STORE, experiments/best or the user's data folder",
    )
    model = out.add_argument_group("the winner as a model")
    model.add_argument(
        "--model",
        choices=("onnx", "pt2"),
        help="write the trained student with its graph and normalisation: ONNX, or PyTorch's exported program",
    )
    model.add_argument("--latency", action="store_true", help="also time PyTorch, both forms and the teacher's network")
    model.add_argument("--data-dir", metavar="DIR", type=uri.local, help="where the raw files of --dataset lie")
    shape = out.add_argument_group("what to print")
    shape.add_argument("--format", choices=("json", "csv", "md", "tex"), default="md", help="form of the table")
    shape.add_argument(
        "--table",
        choices=TABLES,
        default="auto",
        help="2: hyperparameters of the losses, 3: of pruning, comparison: errors on the test days beside copy-last, "
        "ridge AR(12), teacher and student without KD, best: each winner in full, front: of --objective pareto, "
        "auto: 2 and 3, where there is any",
    )
    shape.add_argument("--paper", action="store_true", help="the paper's row beside each of ours (tables 2 and 3)")
    shape.add_argument(
        "--file",
        metavar="PATH",
        type=uri.local,
        help="write there, not to the terminal; of --model the model (default: student.onnx or .pt2 beside best.json)",
    )
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: its arguments; None for those of the process.

    Raises:
        UserError: nothing to read, or something in it is wrong.
    """
    arguments = parser().parse_args(argv)
    if arguments.model is not None:
        return _model(arguments)
    for option in ("latency", "data_dir"):
        if getattr(arguments, option):
            raise UserError(f"--{option.replace('_', '-')} belongs to --model onnx or --model pt2")
    if arguments.output and arguments.store:
        raise UserError("--store is where --dataset is looked up: with --output leave it out")
    if bool(arguments.output) == (arguments.dataset is not None):
        raise UserError("name either what a search left (--output DIR) or a dataset of the store (--dataset NAME)")
    front = arguments.table == "front"
    from kdsearch.remote.hand import all_at_hand

    with all_at_hand(arguments.output, "--output") as outputs:
        results = _stored(arguments.dataset, arguments.store, front) if arguments.dataset else _found(outputs, front)

    from kdsearch.results.formats import render

    text = render(_tables(results, arguments.table, arguments.paper), arguments.format)
    if arguments.paper:
        _say_what_the_paper_lacks(results, arguments.table)
    if arguments.file is None:
        sys.stdout.write(text)
    else:
        from kdsearch.results.files import write_text

        write_text(arguments.file, text)
        print(f"written to {arguments.file}")
    return 0


def _model(arguments: argparse.Namespace) -> int:
    if len(arguments.output) != 1:
        raise UserError("--model wants the folder of one search: --output DIR")
    if arguments.file is not None and arguments.file.suffix.lower() != f".{arguments.model}":
        raise UserError(
            f"--file {arguments.file}: a model is opened by its ending: let the name end in .{arguments.model}"
        )
    if arguments.paper or arguments.table != "auto" or arguments.format != "md" or arguments.store:
        raise UserError("--model writes a model and no table: leave out --format, --table, --paper and --store")
    if isinstance(arguments.output[0], Uri) and arguments.file is None:
        raise UserError(f"--output {arguments.output[0]}: say with --file where to write the model")
    from kdsearch.deploy.export import run_export
    from kdsearch.remote.hand import at_hand

    a = arguments
    with at_hand(a.output[0], "--output") as output:
        return run_export(output, a.model, a.file, a.dataset, a.data_dir, a.latency)


def _found(outputs: Sequence[Path], front: bool) -> list[Result]:
    from kdsearch.contents import FRONT
    from kdsearch.results.best import find, read_result
    from kdsearch.results.front import read_front_file

    if not front:
        return [read_result(path) for output in outputs for path in find(output)]
    found = []
    for output in outputs:
        path = output / FRONT if output.is_dir() else output
        if not path.exists():
            raise UserError(f"{output}: holds no front ({FRONT}); a search with --objective pareto leaves one")
        found += read_front_file(path)
    return found


def _stored(dataset: str, store: Path | None, front: bool) -> list[Result]:
    from kdsearch.results.store import datasets, path_of, read, read_fronts

    results = read_fronts(dataset, store) if front else read(dataset, store)
    if not results:
        known = datasets(store)
        likely = "" if dataset in known else suggestion(dataset, known)
        held = f"it holds {', '.join(known)}{likely}" if known else "it is empty"
        what, adds = ("front", "search with --objective pareto") if front else ("result", "search")
        raise UserError(
            f"--dataset: the store {path_of(dataset, store).parent} has no {what} for {dataset!r} ({held}); "
            f"a finished {adds} adds one"
        )
    return results


def _tables(results: Sequence[Result], which: str, with_paper: bool) -> list[Table]:
    from kdsearch.results import tables

    makers: dict[str, Callable[[], list[Table]]] = {
        "best": lambda: tables.best(results),
        "2": lambda: tables.table2(results, with_paper),
        "3": lambda: tables.table3(results, with_paper),
        "comparison": lambda: tables.comparison(results),
        "front": lambda: tables.front(results),
        "auto": lambda: tables.table2(results, with_paper) + tables.table3(results, with_paper),
    }
    made = makers[which]()
    if not made:
        other, kind = ("3", "without") if which == "2" else ("2", "with")
        raise UserError(f"--table {which}: there is no result {kind} pruning among these; --table {other} shows them")
    return made


def _say_what_the_paper_lacks(results: Sequence[Result], which: str) -> None:
    from kdsearch.results import paper

    if which in ("best", "comparison", "front"):
        print("kdsearch: note: --paper adds rows to tables 2 and 3 only", file=sys.stderr)
        return
    lacking = [r for r in results if paper.hyperparameters(r.dataset, r.loss, r.prune) is None]
    if lacking:
        names = dict.fromkeys(f"{r.loss} on {r.dataset}" + (f" at {r.prune:g}%" if r.prune else "") for r in lacking)
        print(f"kdsearch: note: the paper publishes nothing for {', '.join(names)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run(main))
