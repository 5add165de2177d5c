"""HTML and SVG from values, everything escaped that is not markup already."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable

__all__ = ["Markup", "el", "escape", "join", "number", "path"]

_VOID = frozenset({"meta", "br", "input", "link"})
# Elements of SVG that hold nothing more often than not.
_CLOSED = frozenset({"line", "circle", "path", "rect", "use", "polyline"})


class Markup(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


def escape(value: object) -> Markup:
    """A value as text of a page; what cannot be printed becomes a space."""
    if isinstance(value, Markup):
        return value
    text = "".join(char if char.isprintable() or char == "\n" else " " for char in str(value))
    return Markup(html.escape(text, quote=True))


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Parts one after another; None is left out."""
    return Markup(between.join(escape(part) for part in parts if part is not None))


def el(tag: str, *children: object, **attributes: object) -> Markup:
    """An element.

    Args:
        tag: its name.
        children: escaped unless they are `Markup`; None is left out.
        attributes: ``class_`` stands for ``class``, and ``_`` for ``-``; True is an attribute without a value, None and
            False are left out, numbers are shortened as :func:`number` does.
    """
    written = []
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            written.append(f" {name}")
        else:
            text = number(value) if isinstance(value, float) else str(value)
            written.append(f' {name}="{escape(Markup(text) if isinstance(value, Markup) else text)}"')
    opening = f"<{tag}{''.join(written)}"
    if tag in _VOID:
        return Markup(f"{opening}>")
    inside = join(children)
    return Markup(f"{opening}/>" if tag in _CLOSED and not inside else f"{opening}>{inside}</{tag}>")


def number(value: float) -> str:
    """A coordinate with one decimal, without a needless one."""
    return f"{value:.1f}".removesuffix(".0") if math.isfinite(value) else "0"


def path(points: Iterable[tuple[float, float]]) -> str:
    """The ``d`` of a line through points; it is broken where a point is not finite."""
    out, pen = [], "M"
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            out.append(f"{pen}{number(x)} {number(y)}")
            pen = "L"
        else:
            pen = "M"
    return "".join(out)
