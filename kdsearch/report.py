"""``python -m kdsearch.report``: a search as one HTML page."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kdsearch import command
from kdsearch.errors import UserError
from kdsearch.remote import uri
from kdsearch.remote.uri import Uri, folder

__all__ = ["main", "parser"]


def parser() -> command.Parser:
    """The command's arguments."""
    p = command.Parser(
        command.program("report"),
        "Write a search as one HTML page that needs no network: summary, charts, tables, forecasts, map. A search that "
        "has not finished gets a page of what there is so far.",
        "Example: python -m kdsearch.report --output runs/demo-stcd --sensors 3,17",
    )
    p.add_argument("--output", type=folder, metavar="DIR|URI", help="folder of a search")
    p.add_argument("--file", type=uri.local, metavar="PATH", help="page to write (default: report.html in that folder)")
    p.add_argument(
        "--dataset",
        metavar="NAME|FILE",
        help="of the search (default: its own, where that is still at hand)",
    )
    p.add_argument("--data-dir", type=uri.local, metavar="DIR", help="where the raw files lie")
    p.add_argument(
        "--sensors",
        type=command.numbers,
        metavar="N,N,...",
        help="whose forecasts are shown, counted from 0 (default: some that are worth a look)",
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Read the search, write the page.

    Raises:
        UserError: no search there, its dataset is not the one that was given, or the page cannot be written.
    """
    args = parser().parse_args(argv)
    if args.output is None:
        raise UserError("name the folder of a search (--output DIR)")
    if isinstance(args.output, Uri) and args.file is None:
        raise UserError(f"--output {args.output}: say with --file where to write the page")
    from kdsearch.remote.hand import at_hand
    from kdsearch.results.page.document import write_report

    with at_hand(args.output, "--output") as output:
        written = write_report(output, args.dataset, args.data_dir, args.file, args.sensors or ())
    if written.lacks:
        print(f"kdsearch: note: {written.lacks}", file=sys.stderr)
    print(f"written to {written.path}")
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
