"""The installed script ``kdsearch``: its subcommands are the command modules, imported only when asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from kdsearch import fingerprint
from kdsearch.command import run
from kdsearch.errors import UserError, suggestion

__all__ = ["COMMANDS", "main"]

# A name, and what it does; the module is kdsearch.<name> and has main(argv).
COMMANDS = {
    "tune": "search the hyperparameters of a distillation loss",
    "train": "train one network, also from a search's best.json",
    "export": "print the tables of finished searches, or write the winner as a model",
    "predict": "forecast the next 45 minutes from recent readings",
    "report": "write a search as one HTML page",
    "compare": "put searches side by side",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``kdsearch <command> ...`` and return its exit code."""
    return run(_dispatch, argv)


def _dispatch(argv: Sequence[str] | None) -> int | None:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(_versions())
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        raise UserError(f"{name!r} is not one of {', '.join(COMMANDS)}{suggestion(name, COMMANDS)}")
    result: int | None = importlib.import_module(f"kdsearch.{name}").main(rest)
    return result


def _versions() -> str:
    """A line each: what computes, and the fingerprint of the code, as best.json has them."""
    return "\n".join(
        f"{name} {value}" for name, value in {**fingerprint.versions(), "code": fingerprint.code()}.items()
    )


def _help() -> str:
    lines = [f"  {name:<10}{text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: kdsearch <command> [options]",
            "",
            "Hyperparameter search for knowledge distillation of traffic-forecasting networks.",
            "",
            *lines,
            "",
            "kdsearch <command> --help lists its options; kdsearch --version names all versions.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
