"""Tables of the page: ours from `kdsearch.results.tables`, and plain ones beside the charts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from kdsearch.results.formats import Table, shown
from kdsearch.results.page.markup import Markup, el, escape
from kdsearch.results.page.scales import short

# A figure with its interval is a number to a reader, and is set like one.
_NUMBERS = re.compile(r"[-\d.,]+( ± [\d.,]+)?")

__all__ = ["pairs", "plain_table", "result_table"]


def plain_table(
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    caption: str,
    sortable: bool = False,
    marked: int | None = None,
) -> Markup:
    """A table whose first column names its rows.

    Args:
        heads: over the columns, with units.
        rows: cells; None and NaN are empty.
        caption: what it shows.
        sortable: let the script sort it by a column.
        marked: the row whose first cell has this value stands out.
    """
    words = [any(_is_text(row[i]) for row in rows) for i in range(len(heads))]
    classes = ["text" if word else None for word in words]
    head = el("tr", *(el("th", h, scope="col", class_=c) for h, c in zip(heads, classes, strict=True)))
    body = []
    for row in rows:
        first, *rest = row
        cells = [el("th", _cell(first), scope="row", data_v=_sort(first))]
        cells += [el("td", _cell(v), class_=c, data_v=_sort(v)) for v, c in zip(rest, classes[1:], strict=True)]
        body.append(el("tr", *cells, class_="marked" if marked is not None and first == marked else None))
    return el(
        "table",
        el("caption", el("span", caption)),
        el("thead", head),
        el("tbody", *body),
        class_="sortable" if sortable else None,
    )


def _is_text(cell: object) -> bool:
    return isinstance(cell, str) and not _NUMBERS.fullmatch(cell)


def _cell(cell: object) -> Markup:
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return Markup("")
    return escape(cell if isinstance(cell, Markup) else short(cell))


def _sort(cell: object) -> str | None:
    """What a number is sorted by, where its printed form would not do."""
    return repr(cell) if isinstance(cell, (int, float)) and not isinstance(cell, bool) and math.isfinite(cell) else None


def result_table(table: Table, marked: Sequence[int] = ()) -> Markup:
    """One of the tables of `kdsearch.results.tables`; ``marked`` are positions of rows that stand out."""
    head = el("tr", *(el("th", c.heading, scope="col") for c in table.columns))
    body = []
    for place, row in enumerate(table.rows):
        cells = [shown(row.get(c.key), c, "±", escape) for c in table.columns]
        first = el("th", Markup(cells[0]), scope="row")
        body.append(
            el("tr", first, *(el("td", Markup(c)) for c in cells[1:]), class_="marked" if place in marked else None)
        )
    caption = el("caption", el("span", f"{table.title}: {table.dataset}"))
    return el("div", el("table", caption, el("thead", head), el("tbody", *body)), class_="scroll", tabindex=0)


def pairs(items: Sequence[tuple[str, object]]) -> Markup:
    """Names and values, one below another."""
    return el("dl", *(Markup(el("dt", name) + el("dd", value)) for name, value in items))
