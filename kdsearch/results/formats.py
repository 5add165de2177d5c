"""A table and its four forms: JSON and CSV hold every digit, Markdown and LaTeX hold what a reader wants to see."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kdsearch.errors import UserError
from kdsearch.results.result import Figure

__all__ = [
    "FORMATS",
    "Cell",
    "Column",
    "Label",
    "Marked",
    "Table",
    "decimals",
    "escape_markdown",
    "escape_tex",
    "render",
    "scientific",
    "shown",
    "whole",
]


@dataclass(frozen=True)
class Label:
    """A text that has its own form in LaTeX, such as the name of a loss."""

    plain: str
    tex: str

    def __add__(self, other: Label | str) -> Label:
        more = other if isinstance(other, Label) else Label(other, escape_tex(other))
        return Label(self.plain + more.plain, self.tex + more.tex)


@dataclass(frozen=True)
class Marked(Figure):
    """A figure that stands out: in bold, with a sign after it, or both."""

    bold: bool = False
    sign: str = ""


Cell = Figure | Label | bool | float | int | str | None

_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
# Escaped where they would start markup inside a line or end a cell; "_" within a word does neither.
_MARKDOWN = {char: f"\\{char}" for char in "\\`*<>|[]"}


def scientific(value: float) -> str:
    """A learning rate as the paper prints it: ``1E-03``; up to two more digits where it has them."""
    text = f"{value:.2E}"
    mantissa, exponent = text.split("E")
    return f"{mantissa.rstrip('0').rstrip('.')}E{exponent}"


def decimals(value: float) -> str:
    """Three decimals, as the paper prints alphas and errors."""
    return f"{value:.3f}"


def whole(value: float) -> str:
    """A count or a percentage without needless decimals."""
    return f"{value:.10g}"


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: its name in JSON and CSV.
        heading: over the column in Markdown, escaped for LaTeX.
        tex: over the column in LaTeX, where it differs.
        number: how a number is printed for a reader.
        unit: added to each number.
        figure: the cells are means with deviations; CSV gives each two columns.
    """

    key: str
    heading: str
    tex: str | None = None
    number: Callable[[float], str] = decimals
    unit: str = ""
    figure: bool = False


@dataclass
class Table:
    """Rows of cells by column key, under a title and the name of a dataset.

    Attributes:
        name: which table it is; tables of one name have the same leading columns.
        title: what it shows.
        dataset: whose numbers they are, as the heading prints it.
        columns: in order.
        rows: a cell for each column key; a missing key is an empty cell.
        notes: sentences for under the table, in Markdown and LaTeX.
    """

    name: str
    title: str
    dataset: str
    columns: Sequence[Column]
    rows: list[dict[str, Cell]]
    notes: Sequence[str] = ()


def render(tables: Sequence[Table], form: str) -> str:
    """Tables as text that ends with a newline.

    Args:
        tables: at least one.
        form: a key of `FORMATS`.

    Raises:
        UserError: the form is not known, or CSV is asked to hold tables of different kinds.
    """
    if form not in FORMATS:
        raise UserError(f"--format: {form!r} is not one of {', '.join(FORMATS)}")
    return FORMATS[form](tables)


def _json(tables: Sequence[Table]) -> str:
    document = [
        {
            "table": table.name,
            "title": table.title,
            "dataset": table.dataset,
            "columns": [column.key for column in table.columns],
            "rows": [{column.key: _plain(row.get(column.key)) for column in table.columns} for row in table.rows],
        }
        for table in tables
    ]
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(cell: Cell) -> object:
    if isinstance(cell, Figure):
        return {"mean": _plain(cell.mean), "std": _plain(cell.std)}
    if isinstance(cell, Label):
        return cell.plain
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _csv(tables: Sequence[Table]) -> str:
    if len({table.name for table in tables}) > 1:
        names = " and ".join(sorted({table.title for table in tables}))
        raise UserError(f"--format csv holds one kind of table and these are {names}; choose one with --table")
    columns: dict[str, Column] = {}
    for table in tables:  # datasets may differ in their horizons: the union, in order
        columns.update({column.key: column for column in table.columns})
    heads = ["dataset"]
    for column in columns.values():
        heads += [column.key, f"{column.key}_std"] if column.figure else [column.key]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    for table in tables:
        for row in table.rows:
            line: list[object] = [_field(table.dataset)]
            for column in columns.values():
                cell = row.get(column.key)
                if column.figure:
                    figure = cell if isinstance(cell, Figure) else Figure(math.nan)
                    line += [_field(figure.mean), _field(figure.std)]
                else:
                    line.append(_field(cell))
            writer.writerow(line)
    return out.getvalue()


def _field(cell: Cell) -> object:
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return ""
    if isinstance(cell, (Label, str)):
        # The csv module of Python 3.11 does not quote a lone carriage return.
        return _printable(cell.plain if isinstance(cell, Label) else cell)
    return repr(cell) if isinstance(cell, float) else cell


def _markdown(tables: Sequence[Table]) -> str:
    blocks = []
    for table in tables:
        grid = [[escape_markdown(column.heading) for column in table.columns]]
        grid += [[_shown(row.get(c.key), c, _MARKDOWN_STYLE) for c in table.columns] for row in table.rows]
        widths = [max(3, *(len(line[i]) for line in grid)) for i in range(len(table.columns))]
        lines = [" | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in grid]
        lines.insert(1, " | ".join([widths[0] * "-", *("-" * (width - 1) + ":" for width in widths[1:])]))
        title = f"### {table.title}: {escape_markdown(table.dataset)}"
        notes = [f"\n{escape_markdown(note)}" for note in table.notes]
        blocks.append("\n".join([title, "", *(f"| {line} |" for line in lines), *notes]))
    return "\n\n".join(blocks) + "\n"


def _tex(tables: Sequence[Table]) -> str:
    blocks = ["% Needs \\usepackage{booktabs}."]
    for table in tables:
        columns = table.columns
        lines = [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape_tex(table.title)}}}",
            rf"  \begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
            r"    \toprule",
            rf"    \multicolumn{{{len(columns)}}}{{c}}{{{escape_tex(table.dataset)}}} \\",
            r"    \midrule",
            "    " + " & ".join(column.tex or escape_tex(column.heading) for column in columns) + r" \\",
            r"    \midrule",
        ]
        for row in table.rows:
            cells = [_tex_cell(row.get(column.key), column) for column in columns]
            lines.append("    " + " & ".join(cells) + r" \\")
        lines += [r"    \bottomrule", r"  \end{tabular}"]
        lines += [rf"  \par\footnotesize {escape_tex(note)}" for note in table.notes]
        lines.append(r"\end{table}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _tex_cell(cell: Cell, column: Column) -> str:
    return cell.tex if isinstance(cell, Label) else _shown(cell, column, _TEX_STYLE)


def shown(cell: Cell, column: Column, plus_minus: str, text: Callable[[str], str]) -> str:
    """A cell as a reader sees it, without bold type.

    Args:
        cell: of a table.
        column: which it stands in.
        plus_minus: between a mean and its deviation.
        text: makes a text fit for where it is shown.
    """
    return _shown(cell, column, _Style(plus_minus, text, str))


def _shown(cell: Cell, column: Column, style: _Style) -> str:
    """A cell as a reader sees it; ``-`` where there is nothing, as in the paper."""
    if isinstance(cell, Figure):
        text = _shown(cell.mean, column, style)
        if text == "-":
            return text
        if cell.std is not None and math.isfinite(cell.std):
            text = f"{text} {style.plus_minus} {column.number(cell.std)}"
        if isinstance(cell, Marked):
            text = (style.bold(text) if cell.bold else text) + style.text(cell.sign)
        return text
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "-"
    if isinstance(cell, (bool, str, Label)):
        return style.text(cell.plain if isinstance(cell, Label) else str(cell))
    return style.text(column.number(cell) + column.unit)


def escape_tex(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return "".join(_TEX.get(char, char) for char in _printable(text))


def escape_markdown(text: str) -> str:
    """Text that Markdown prints as it stands, also inside a table."""
    return "".join(_MARKDOWN.get(char, char) for char in _printable(text))


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


@dataclass(frozen=True)
class _Style:
    """How a format writes what plain text has no sign for."""

    plus_minus: str
    text: Callable[[str], str]
    bold: Callable[[str], str]


_MARKDOWN_STYLE = _Style("±", escape_markdown, lambda text: f"**{text}**")
_TEX_STYLE = _Style(r"$\pm$", escape_tex, lambda text: rf"\textbf{{{text}}}")

FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {"json": _json, "csv": _csv, "md": _markdown, "tex": _tex}
