"""Figures as a table for people or as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["show"]


def show(report: Mapping[str, Any], sections: Sequence[tuple[str, str]], as_json: bool) -> None:
    """Print a report.

    Args:
        report: lists of rows by name (each row a mapping of plain values), and plain values.
        sections: which lists to print as tables, with their headings.
        as_json: print all of it as one JSON object instead.
    """
    if as_json:
        print(json.dumps(report, indent=2))
        return
    for name, heading in sections:
        rows = report.get(name)
        if not rows:
            continue
        columns = list(dict.fromkeys(column for row in rows for column in row))
        cells = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
        widths = [max(len(line[k]) for line in cells) for k in range(len(columns))]
        print(f"\n{heading}\n")
        for number, line in enumerate(cells):
            print("| " + " | ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) + " |")
            if number == 0:
                print("|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
