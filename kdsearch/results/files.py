"""Reading and writing small JSON files so that no reader ever sees half of one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from kdsearch.atomic import atomic_write
from kdsearch.errors import UserError

__all__ = ["read_json", "write_json", "write_text"]


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: the file.
        what: what the file is to its user, for the error, such as "the result of a search".

    Raises:
        UserError: the file is missing, unreadable, not JSON, or not an object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file; {what} was expected there") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: is damaged, {what} was expected and this is not JSON ({error})") from error
    if not isinstance(document, dict):
        raise UserError(f"{path}: is damaged, {what} was expected and this is not a JSON object")
    return document


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON file in one step; numbers that are not finite become null, which every JSON reader knows.

    Raises:
        UserError: the folder cannot be written.
    """
    write_text(path, json.dumps(_finite(document), indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step: readers see the old file or the new one, also after a crash.

    What is no file, such as ``/dev/stdout`` or a pipe, is written to as it is.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        if path.parts[1:2] in (("dev",), ("proc",)) or (path.exists() and not path.is_file() and not path.is_dir()):
            with path.open("a", encoding="utf-8", newline="\n") as stream:  # what is there of a redirected output stays
                stream.write(text)
            return
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
