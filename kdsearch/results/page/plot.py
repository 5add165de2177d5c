"""A plot's area with its axes, and the figure on the page around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kdsearch.results.page.markup import Markup, el, join
from kdsearch.results.page.scales import Axis, Tick

__all__ = ["Area", "Size", "axis_x", "axis_y", "both", "chart", "figure", "hint", "key", "mark"]


class Size(NamedTuple):
    """Width of a drawing in units, and whether it is for a phone."""

    width: float
    narrow: bool


WIDE, NARROW = Size(960, False), Size(380, True)
HALF = Size(460, False)


@dataclass(frozen=True)
class Area:
    """Where marks go: a rectangle with room for axes around it, in drawing units."""

    width: float
    height: float
    left: float = 46
    right: float = 14
    top: float = 26
    bottom: float = 40

    @property
    def x(self) -> tuple[float, float]:
        """Left and right end."""
        return self.left, self.width - self.right

    @property
    def y(self) -> tuple[float, float]:
        """Lower and upper end; drawing units grow downwards."""
        return self.height - self.bottom, self.top


def axis_x(area: Area, axis: Axis, label: str, ticks: Sequence[Tick] | None = None) -> Markup:
    """Ticks below an area and what they measure, with its unit."""
    floor = area.y[0]
    parts = [el("line", class_="axis", x1=area.x[0], x2=area.x[1], y1=floor, y2=floor)]
    for tick in axis.ticks() if ticks is None else ticks:
        parts.append(el("line", class_="axis", x1=tick.at, x2=tick.at, y1=floor, y2=floor + 4))
        parts.append(el("text", tick.label, x=tick.at, y=floor + 17, text_anchor="middle"))
    middle = (area.x[0] + area.x[1]) / 2
    parts.append(el("text", label, class_="label", x=middle, y=floor + 34, text_anchor="middle"))
    return el("g", *parts, aria_hidden="true")


def axis_y(area: Area, axis: Axis, label: str, ticks: Sequence[Tick] | None = None, grid: bool = True) -> Markup:
    """Lines across an area, their values left of it, and above them what they measure."""
    parts = []
    for tick in axis.ticks(6) if ticks is None else ticks:
        if grid:
            parts.append(el("line", class_="grid", x1=area.x[0], x2=area.x[1], y1=tick.at, y2=tick.at))
        parts.append(el("text", tick.label, x=area.left - 7, y=tick.at + 4, text_anchor="end"))
    parts.append(el("text", label, class_="label", x=2, y=13))
    return el("g", *parts, aria_hidden="true")


def chart(size: Size, height: float, label: str, *content: object, kind: str = "", **data: object) -> Markup:
    """A drawing.

    Args:
        size: its width; it is scaled to the room there is.
        height: in the same units.
        label: what it shows, for those who cannot see it.
        content: what is in it.
        kind: class, for the script.
        data: further attributes.
    """
    only = "only-narrow" if size == NARROW else "only-wide" if size == WIDE else ""
    return el(
        "svg",
        *content,
        viewBox=f"0 0 {size.width:g} {height:g}",
        class_=" ".join(filter(None, ("chart", kind, only))),
        role="group",
        aria_label=label,
        style=f"max-width:{size.width * 1.15:.0f}px",
        **data,
    )


def both(draw: Callable[[Size], Markup]) -> Markup:
    """A drawing for a wide page and one for a phone; the style sheet shows one of them."""
    return join([draw(WIDE), draw(NARROW)])


def mark(shape: str, x: float, y: float, radius: float, class_: str, **data: object) -> Markup:
    """A mark that tells its kind by shape and colour: ``circle``, ``cross``, ``diamond``, ``ring`` or ``up``."""
    if shape in ("circle", "ring"):
        return el("circle", cx=x, cy=y, r=radius, class_=f"m {class_}", **data)
    r = radius
    drawn = {
        "cross": f"M{-r} {-r}L{r} {r}M{-r} {r}L{r} {-r}",
        "diamond": f"M0 {-1.5 * r}L{1.5 * r} 0L0 {1.5 * r}L{-1.5 * r} 0Z",
        "up": f"M0 {-r}L{r} {r}L{-r} {r}Z",
    }[shape]
    place = f"translate({x:.1f} {y:.1f})"
    return el("path", d=drawn, transform=place, class_=f"m {class_}{' x' if shape == 'cross' else ''}", **data)


def key(*entries: tuple[str, str, str]) -> Markup:
    """What marks mean: shape, class and name of each."""
    items = []
    for shape, class_, name in entries:
        if shape in ("line", "dash"):
            dashes = "5 3" if shape == "dash" else None
            drawn = el("line", class_=class_, x1=1, x2=19, y1=7, y2=7, stroke_dasharray=dashes)
        elif shape == "box":
            drawn = el("rect", class_=class_, x=3, y=2, width=14, height=10)
        else:
            drawn = mark(shape, 10, 7, 4, class_)
        symbol = el("svg", drawn, viewBox="0 0 20 14", class_="symbol", aria_hidden="true")
        items.append(el("li", symbol, name))
    return el("ul", *items, class_="key")


def hint(text: str) -> Markup:
    """A note that only helps where the script runs, and not on paper."""
    return el("p", text, class_="hint")


def figure(title: str, told: object, *content: object, table: Markup | None = None, wide: bool = False) -> Markup:
    """A titled figure with a sentence on how to read it, and the same as a table."""
    more = None
    if table is not None:
        more = el("details", el("summary", "The same as a table"), el("div", table, class_="scroll", tabindex=0))
    return el(
        "figure",
        el("figcaption", el("h3", title), el("p", told)),
        *content,
        more,
        class_="wide" if wide else None,
    )
