"""Charts of the forecasts: days of single sensors, and the map of the sensors coloured by error."""

from __future__ import annotations

import base64
import json
import math

import numpy as np

from kdsearch.results.page.forecasts import Day, Forecasts
from kdsearch.results.page.markup import Markup, el, join, number, path
from kdsearch.results.page.plot import HALF, NARROW, WIDE, Area, Size, axis_x, axis_y, both, chart, figure, hint, key
from kdsearch.results.page.scales import Scale, Tick
from kdsearch.results.page.table import plain_table

__all__ = ["days", "sensor_map"]

_STEPS = 6  # colours of the map
FIRST_HOUR, LAST_HOUR = 5, 22


def days(found: Forecasts) -> Markup | None:
    """Readings and forecasts of the chosen sensors, a chart each; None without a sensor."""
    if not found.days:
        return None
    top = max(
        float(np.nanmax(line))
        for day in found.days
        for line in (day.truth, *day.ahead.values())
        if np.isfinite(line).any()
    )
    shown = _shown(found)
    panels = [_day(day, found.minutes_per_step, shown, top) for day in found.days]
    entries = [("line", "truth", "measured")]
    entries += [("line", f"ahead{i}", f"forecast {m} min ahead") for i, m in enumerate(shown)]
    told = (
        "Measured speed and the winner's forecasts on a test day, each at the time it is for: of every sensor the test "
        "day on which it was slowest."
    )
    more = hint("Point at a chart, or focus it and use the arrow keys, to read off values.")
    rows = [_summary(day, shown) for day in found.days]
    heads = ["sensor", "chosen for", "test day", "lowest speed (mph)", *(f"MAE {m} min (mph)" for m in shown)]
    table = plain_table(heads, rows, "The days shown")
    return figure(
        "Forecasts against measurement",
        told,
        el("div", *panels, class_="grid2"),
        key(*entries),
        more,
        table=table,
        wide=True,
    )


def _shown(found: Forecasts) -> list[int]:
    """The nearest and the farthest horizon; a line in between would only lie in between."""
    minutes = sorted(found.errors)
    return list(dict.fromkeys([minutes[0], minutes[-1]]))


def _summary(day: Day, shown: list[int]) -> list[object]:
    errors = []
    for m in shown:
        gaps = np.abs(day.ahead[m] - day.truth)
        errors.append(round(float(np.nanmean(gaps)), 2) if np.isfinite(gaps).any() else None)
    low = round(float(np.nanmin(day.truth)), 1) if np.isfinite(day.truth).any() else None
    return [day.sensor, day.why, day.day, low, *errors]


def _day(day: Day, minutes_per_step: int, shown: list[int], top: float) -> Markup:
    area = Area(HALF.width, 250, top=40)
    x = Scale(float(FIRST_HOUR), float(LAST_HOUR), *area.x)
    y = Scale(0.0, top * 1.03, *area.y)
    hours = np.arange(len(day.truth)) * minutes_per_step / 60
    inside = (hours >= FIRST_HOUR) & (hours <= LAST_HOUR)

    def line(values: np.ndarray) -> str:
        return path((x(h), y(v)) for h, v in zip(hours[inside], values[inside], strict=True))

    lines = [el("path", class_="truth", d=line(day.truth))]
    lines += [el("path", class_=f"ahead{i}", d=line(day.ahead[m])) for i, m in enumerate(shown)]
    ticks = [Tick(x(h), f"{h:02d}:00") for h in range(6, LAST_HOUR, 4)]
    title = f"Sensor {day.sensor}, test day {day.day} ({day.why})"
    *_, low = _summary(day, [])
    label = f"{title}: speed over the day, lowest {low} mph."
    names = ["measured", *(f"{m} min ahead" for m in shown)]
    values = np.stack([day.truth, *(day.ahead[m] for m in shown)])
    # Tenths of a mph as 16-bit numbers, -1 where missing.
    tenths = np.where(np.isfinite(values), np.round(values * 10), -1)
    data = {
        "start": number(x(FIRST_HOUR)),
        "per": (x(LAST_HOUR) - x(FIRST_HOUR)) / (LAST_HOUR - FIRST_HOUR) * minutes_per_step / 60,
        "first": int(FIRST_HOUR * 60 / minutes_per_step),
        "minutes": minutes_per_step,
        "names": names,
        "values": base64.b64encode(tenths.astype("<i2").tobytes()).decode(),
        "count": len(day.truth),
    }
    return chart(
        HALF,
        area.height,
        label,
        el("text", title, class_="label strong", x=2, y=13, aria_hidden="true"),
        el("g", axis_y(Area(area.width, area.height, top=40), y, "", y.ticks(5)), aria_hidden="true"),
        el("text", "speed (mph)", class_="label", x=2, y=30, aria_hidden="true"),
        axis_x(area, x, "time of day", ticks),
        *lines,
        el("line", class_="cursor", x1=0, x2=0, y1=area.top, y2=area.y[0], visibility="hidden"),
        kind="series",
        tabindex=0,
        data_series=json.dumps(data, separators=(",", ":")),
    )


def sensor_map(found: Forecasts) -> Markup:
    """The sensors at their places, larger and stronger in colour the larger the error; roads of the graph between."""
    minutes = sorted(found.errors)
    values = np.concatenate([found.errors[m][np.isfinite(found.errors[m])] for m in minutes])
    low, high = (float(np.quantile(values, q)) for q in (0.02, 0.98)) if values.size else (0.0, 1.0)
    high = high if high > low else low + 1.0
    limits = [low + (high - low) * k / _STEPS for k in range(1, _STEPS)]
    first = minutes[-1]

    def draw(size: Size) -> Markup:
        return _map(found, limits, first, size)

    buttons = [
        el("label", el("input", type="radio", name="ahead", value=m, checked=m == first), f"{m} min ahead")
        for m in reversed(minutes)
    ]
    choose = el("fieldset", el("legend", "Error of the forecasts"), *buttons, class_="choose")
    ends = [low, *limits, high]
    classes = [
        ("circle", f"q{i}", f"{ends[i]:.1f} to {ends[i + 1]:.1f}" if 0 < i < _STEPS - 1 else _open(i, ends))
        for i in range(_STEPS)
    ]
    where = (
        "Places are laid out from the distances between sensors, so north need not be up."
        if found.measured
        else "Only the weights of the graph are known, so places are a layout of them and no map."
    )
    told = f"Mean absolute error of the winner at each sensor on the test days, in mph. {where}"
    data = {str(m): [None if math.isnan(v) else round(float(v), 2) for v in found.errors[m]] for m in minutes}
    # JSON within a script element: "<" may not appear as such.
    numbers = Markup(json.dumps({"errors": data, "limits": limits}, separators=(",", ":")).replace("<", "\\u003c"))
    store = Markup(f'<script type="application/json" id="map-data">{numbers}</script>')
    heads = ["sensor", *(f"MAE {m} min (mph)" for m in minutes)]
    rows = [
        [i, *(None if math.isnan(found.errors[m][i]) else round(float(found.errors[m][i]), 2) for m in minutes)]
        for i in range(len(found.places))
    ]
    table = plain_table(heads, rows, "Error by sensor", sortable=True)
    return figure("Map of the sensors", told, choose, both(draw), key(*classes), store, table=table, wide=True)


def _open(step: int, ends: list[float]) -> str:
    return f"below {ends[1]:.1f}" if step == 0 else f"above {ends[step]:.1f}"


def _map(found: Forecasts, limits: list[float], shown: int, size: Size) -> Markup:
    places = found.places
    across, up = (float(v) or 1.0 for v in places.max(axis=0))
    edge = 18.0
    if size == NARROW and across > 1.6 * up:  # a long road stands upright on a phone
        places, across, up = places[:, ::-1], up, across
    scale = min((size.width - 2 * edge) / across, (560 if size == WIDE else 520) / up)
    height = up * scale + 2 * edge + 26
    left = (size.width - across * scale) / 2
    radius = 4.5 if len(places) <= 300 else 3.2
    spots = np.stack([left + places[:, 0] * scale, height - 26 - edge - places[:, 1] * scale], axis=1)
    points = [(float(a), float(b)) for a, b in _apart(spots, 1.9 * radius)]
    roads = "".join(path([points[i], points[j]]) for i, j in found.edges)
    errors = found.errors[shown]
    dots = []
    for i in np.argsort(np.nan_to_num(errors, nan=-1.0), kind="stable"):  # the worst on top
        value = float(errors[i])
        step = -1 if math.isnan(value) else sum(value >= limit for limit in limits)
        class_ = "q-none" if step < 0 else f"q{step}"
        x, y = points[i]
        size_of = radius * (0.8 + 0.14 * max(step, 0))
        dots.append(el("circle", class_=f"m sensor {class_}", cx=x, cy=y, r=size_of, data_s=int(i)))
    bar = _bar(size.width, scale, height, edge) if found.measured else None
    label = f"Map of {len(points)} sensors by error {shown} minutes ahead."
    road = el("path", class_="road", d=roads)
    return chart(size, height, label, road, *dots, bar, kind="marks map", data_radius=radius)


def _apart(spots: np.ndarray, least: float) -> np.ndarray:
    """Marks that would hide each other, such as the two directions of a road, moved apart by a few units."""
    spots = spots.astype(np.float64).copy()
    count = len(spots)
    if count > 1500:
        return spots
    # Where two coincide, the later goes down.
    tie = np.sign(np.arange(count)[:, None] - np.arange(count)[None, :]).astype(np.float64)
    for _ in range(12):
        gap = spots[:, None, :] - spots[None, :, :]
        length = np.hypot(gap[..., 0], gap[..., 1])
        close = (length < least) & (tie != 0)
        if not close.any():
            break
        unit = np.divide(gap, length[..., None], out=np.zeros_like(gap), where=length[..., None] > 1e-6)
        unit[..., 1] = np.where(length > 1e-6, unit[..., 1], tie)
        spots += 0.5 * np.where(close[..., None], unit * (least - length)[..., None], 0.0).sum(axis=1)
    return spots


def _bar(width: float, scale: float, height: float, edge: float) -> Markup:
    """A scale bar of a round number of kilometres, as long as a quarter of the drawing allows."""
    length = next((k for k in (50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1) if k * 1000 * scale <= 0.25 * width), 0.1)
    wide = length * 1000 * scale
    y = height - 14
    return join(
        [
            el("path", class_="axis", d=path([(edge, y - 5), (edge, y), (edge + wide, y), (edge + wide, y - 5)])),
            el("text", f"{length:g} km", x=edge + wide + 7, y=y + 2, aria_hidden="true"),
        ]
    )
