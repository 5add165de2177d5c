"""``python -m kdsearch.compare``: searches side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kdsearch import command
from kdsearch.errors import UserError
from kdsearch.remote import uri

__all__ = ["main", "parser"]


def parser() -> command.Parser:
    """The command's arguments."""
    p = command.Parser(
        command.program("compare"),
        "Put searches side by side: what they searched and for how long, what was best, and its errors on the test "
        "days. Unfinished ones count with what they have.",
        "Example: python -m kdsearch.compare runs/pemsd7-stcd runs/pemsd7-ord --format md",
    )
    p.add_argument("folders", nargs="*", type=uri.folder, metavar="DIR|URI", help="folder of a search")
    p.add_argument("--format", choices=("text", "md", "csv"), default="text", help="csv has a row a search")
    p.add_argument("--file", type=uri.local, metavar="PATH", help="write there, not to the terminal")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Read the searches, print them.

    Raises:
        UserError: a folder holds no search, or a file is damaged or cannot be written.
    """
    args = parser().parse_args(argv)
    if not args.folders:
        raise UserError("name the folders of the searches to compare")
    from kdsearch.remote.hand import all_at_hand
    from kdsearch.results.compare import compare

    with all_at_hand(args.folders, "compare") as folders:
        text, notes = compare(folders, args.format)
    if args.file is None:
        sys.stdout.write(text)
    else:
        from kdsearch.results.files import write_text

        write_text(args.file, text)
        print(f"written to {args.file}")
    for note in notes:
        print(f"kdsearch: note: {note}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
