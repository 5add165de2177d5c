"""What every command shares: the parser, the argument types, and the way an error reaches the terminal.

Nothing here imports more than the standard library, so that ``--help`` stays instant.
"""

from __future__ import annotations

import argparse
import errno
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, NoReturn

from kdsearch.errors import BROKEN_PIPE, INTERRUPTED, USER_ERROR, UserError, suggestion

__all__ = [
    "Clock",
    "Confirm",
    "Parser",
    "Value",
    "confirm",
    "count_or_auto",
    "duration",
    "fraction_or_auto",
    "non_negative_int",
    "numbers",
    "percent",
    "positive_int",
    "program",
    "run",
    "setting",
    "settings",
    "size",
]

Value = bool | int | float | str


class Clock:
    """Prints lines with the time since the start before them."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        """Print one line."""
        passed = int(time.monotonic() - self._began)
        print(f"[{passed // 60:3d}:{passed % 60:02d}] {line}", flush=True)


_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt])(i?)b")
_NO_WAY_THERE = (errno.ENAMETOOLONG, errno.EACCES)
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def run(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None) -> int:
    """Call a command and turn what it raises into an exit code.

    Args:
        main: the command; returns its exit code, None for 0.
        argv: its arguments; None for those of the process.

    Returns:
        The exit code: 2 and one sentence on stderr for a `UserError` and for a path that cannot even be looked up,
        130 for Ctrl-C, 141 in silence when the reader of a pipe has gone. Anything else is a defect and keeps its
        traceback.
    """
    # Read when torch loads its thread pool. Threads that wait must soon sleep, or on a busy machine they spin away the
    # cores that others (Ray's workers among them) want; 25 times slower was seen. At once would be too soon: waking
    # them cost a student's step half its time again.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    try:
        code = main(argv) or 0
        sys.stdout.flush()
    except UserError as error:
        print(f"kdsearch: error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes stdout once more as it exits; give it somewhere to write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        # Such a name came from outside, wherever it was first looked up: pathlib answers "not there" for others only.
        if error.errno not in _NO_WAY_THERE or error.filename is None:
            raise
        print(f"kdsearch: error: {error.filename}: {error.strerror}; give another path", file=sys.stderr)
        return USER_ERROR
    return code


def program(command: str) -> str:
    """How this process was started, for a command's usage line: ``kdsearch tune`` or ``python -m kdsearch.tune``."""
    started = os.path.basename(sys.argv[0]) if sys.argv else ""
    return f"python -m kdsearch.{command}" if started == f"{command}.py" else f"kdsearch {command}"


class _Help(argparse.HelpFormatter):
    """Help that shows each default, but not a default that says nothing (None, False, an empty list)."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Wrap a paragraph; leave text that has lines of its own, such as examples, as it is."""
        return text if "\n" in text else super()._fill_text(text, width, indent)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        silent = action.default is None or action.default is False or action.default in ([], argparse.SUPPRESS)
        return text if silent or "%(default)" in text else f"{text} (default: %(default)s)"


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are `UserError`s of one sentence, with a suggestion where one is near.

    Options cannot be abbreviated, so that a script keeps its meaning when an option is added.
    """

    def __init__(self, prog: str, description: str, epilog: str | None = None) -> None:
        super().__init__(prog=prog, description=description, epilog=epilog, formatter_class=_Help, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise the mistake as a `UserError`; the usage text is one ``--help`` away."""
        message = message.removeprefix("argument ")
        choice = re.match(r"(\S+): invalid choice: (.+?) \(choose from", message)
        unknown = re.match(r"unrecognized arguments: (.+)", message)
        if choice:
            name, given = choice.group(1), choice.group(2).strip("'\"")
            known = next((a.choices for a in self._actions if name.split("/")[0] in (*a.option_strings, a.dest)), None)
            names = [str(item) for item in known or ()]
            message = f"{name}: {given!r} is not one of {', '.join(names)}{suggestion(given, names)}"
        elif unknown:
            given = unknown.group(1)
            options = [option for action in self._actions for option in action.option_strings]
            first = given.split()[0].split("=")[0]
            hint = suggestion(first, options) if first.startswith("-") else ""
            message = f"unknown argument {given}{hint}; {self.prog} --help lists the known ones"
        raise UserError(message)


def positive_int(text: str) -> int:
    """A whole number of at least 1."""
    return _whole(text, least=1, wanted="a whole number of at least 1")


def non_negative_int(text: str) -> int:
    """A whole number of at least 0."""
    return _whole(text, least=0, wanted="a whole number of at least 0")


def seed(text: str) -> int:
    """A seed: a whole number that every generator takes, with room for those counted on from it."""
    return _whole(text, least=0, wanted="a whole number from 0 to 4000000000", most=4_000_000_000)


def time_of_day(text: str) -> int:
    """``HH:MM`` as minutes since midnight."""
    found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"wants a time from 00:00 to 23:59, not {text!r}")
    return 60 * int(found[1]) + int(found[2])


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers of at least 0 with commas between, such as ``3,17``; each counts once."""
    return tuple(
        dict.fromkeys(
            _whole(part, least=0, wanted="numbers with commas between, such as 3,17") for part in text.split(",")
        )
    )


def count_or_auto(text: str) -> int | Literal["auto"]:
    """``auto`` or a whole number of at least 1."""
    return "auto" if text == "auto" else _whole(text, least=1, wanted="auto or a whole number of at least 1")


def fraction_or_auto(text: str) -> float | Literal["auto"]:
    """``auto``, a share between 0 and 1, or a whole number: what Ray can give of a device."""
    if text == "auto":
        return "auto"
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (math.isfinite(value) and value >= 0 and (value <= 1 or value.is_integer())):
        raise argparse.ArgumentTypeError(f"wants auto, a share between 0 and 1, or a whole number, not {text!r}")
    return value


def percent(text: str) -> float:
    """A number between 0 and 100, both excluded."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(f"wants a percent above 0 and below 100, such as 97, not {text!r}")
    return value


def duration(text: str) -> float:
    """A span of time such as ``2h``, ``30m``, ``90s``, ``1h30m`` or ``1.5d``, in seconds; the unit is required."""
    match = _DURATION.fullmatch(text.strip().lower())
    parts = match.groups() if match else ()
    seconds = sum(float(part) * unit for part, unit in zip(parts, _UNITS.values(), strict=False) if part)
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"wants a span of time with its unit, such as 2h, 30m or 1h30m, not {text!r}")
    return seconds


def size(text: str) -> int | Literal["auto"]:
    """``auto`` or an amount of memory such as ``512MB`` or ``4GB`` (powers of 1000; ``GiB`` of 1024), in bytes."""
    if text == "auto":
        return "auto"
    match = _SIZE.fullmatch(text.strip().lower())
    if not match or float(match.group(1)) <= 0:
        raise argparse.ArgumentTypeError(f"wants auto or an amount of memory, such as 512MB or 4GB, not {text!r}")
    return int(float(match.group(1)) * (1024 if match.group(3) else 1000) ** ("kmgt".index(match.group(2)) + 1))


def amount(text: str) -> int:
    """:func:`size` without ``auto``, where a result must not hang on the memory that is free."""
    found = size(text)
    if found == "auto":
        raise argparse.ArgumentTypeError("wants an amount such as 4GB: the result must not hang on what is free now")
    return found


class Confirm(NamedTuple):
    """How a winner is confirmed: the best ``configurations`` of a search, each retrained with ``seeds`` seeds."""

    configurations: int
    seeds: int

    def __str__(self) -> str:
        return f"{self.configurations}x{self.seeds}"


def confirm(text: str) -> Confirm:
    """``KxS``: K configurations with S seeds each, both at least 1."""
    match = re.fullmatch(r"([1-9]\d*)[xX]([1-9]\d*)", text)
    if not match:
        raise argparse.ArgumentTypeError(
            f"wants KxS, K configurations with S seeds each (both at least 1, such as 3x5), not {text!r}"
        )
    return Confirm(int(match.group(1)), int(match.group(2)))


def setting(text: str) -> tuple[str, Value]:
    """``key=value``; the value is a bool, an int or a float where it reads as one, else text."""
    key, sign, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not sign or not key or not value:
        raise argparse.ArgumentTypeError(f"wants key=value, such as learning_rate=1e-3, not {text!r}")
    return key, _value(value)


def settings(pairs: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    """The pairs of a repeated ``--set`` as a mapping.

    Raises:
        UserError: a key is given twice.
    """
    found: dict[str, Value] = {}
    for key, value in pairs:
        if key in found:
            raise UserError(f"--set: {key} is given twice")
        found[key] = value
    return found


def _value(text: str) -> Value:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _whole(text: str, least: int, wanted: str, most: float = math.inf) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"wants {wanted}, not {text!r}")
    return value
