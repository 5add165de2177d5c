"""Results without their networks, one JSON object a line: small enough to commit, so that tables outlive a cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from experiments.reproduce.kept import Record
from experiments.reproduce.plans import Task
from kdsearch.errors import UserError
from kdsearch.results.files import write_text

__all__ = ["NAME", "read_records", "write_records"]

NAME = "records.jsonl"


def read_records(path: Path) -> dict[str, Record]:
    """Results by the name of a task's file in the cache, which covers all that decides them.

    Raises:
        UserError: the file cannot be read, or is not one of records.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {line.pop("training"): Record(**line) for line in lines}
    except OSError as error:
        raise UserError(f"--records {path}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"--records {path}: not a {NAME} as experiments.reproduce writes it") from None


def write_records(path: Path, tasks: Mapping[str, Task], records: Mapping[str, Record]) -> None:
    """Add results to those that the file has; failed trainings are left out.

    Raises:
        UserError: the file cannot be written, or is not one of records.
    """
    told = read_records(path) if path.exists() else {}
    told |= {tasks[key].path.stem: record for key, record in records.items() if not record.error}
    lines = [json.dumps({"training": name, **asdict(record)}) for name, record in sorted(told.items())]
    write_text(path, "".join(f"{line}\n" for line in lines))
