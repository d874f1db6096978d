"""Curves over steps or layers: raw values as a faint band, the smoothed curve on top, each line labelled at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from audio_ssl.report.svg import CHARACTER_WIDTH, SHAPES, Scale, element, fit, line, path, picture, scale, shape, text

WIDTH, HEIGHT = 348.0, 216.0
_TOP, _BOTTOM, _LEFT = 14.0, 40.0, 46.0
_LABEL_GAP = 13.0
_LEGEND_ROW = 17.0


@dataclass(frozen=True)
class Series:
    """One line: points, an optional band (lowest and highest raw value at each point), and how it is drawn."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    style: int = 0
    """Which of the eight line styles (colour and dash together) of the style sheet."""
    markers: bool = False
    """Draw the points as well, for series with few of them."""


@dataclass(frozen=True)
class Mark:
    """A point to call out, such as the chosen layer."""

    x: float
    y: float
    label: str


def line_chart(
    figure_id: str,
    title: str,
    description: str,
    series: Sequence[Series],
    *,
    x_label: str,
    marks: Sequence[Mark] = (),
    whole_x: bool = False,
    legend: bool = False,
) -> Markup:
    """Draw `series` over a common pair of axes.

    Parameters
    ----------
    figure_id
        Unique on the page; the ids inside the figure begin with it.
    title, description
        What a screen reader says.
    series
        At least one, each with at least one point.
    x_label
        What the horizontal axis counts.
    marks
        Points that get a ring and a label.
    whole_x
        The horizontal axis holds few whole numbers (layers): each gets a tick, where there is room.
    legend
        Name the lines below the axis, one a row, instead of at their ends: for many lines, or long names.
    """
    xs = [value for one in series for value in one.x]
    ys = [value for one in series for value in (*one.y, *one.low, *one.high)]
    names = [one.label for one in series] if len(series) > 1 and not legend else []
    right = 10.0 + (min(max(len(name) for name in names), 15) * CHARACTER_WIDTH + 8 if names else 0)
    y_axis = scale(min(ys), max(ys), HEIGHT - _BOTTOM, _TOP)
    left = max(_LEFT, 12 + CHARACTER_WIDTH * max(map(len, y_axis.labels())))
    x_axis = _x_scale(xs, left, WIDTH - right, whole_x)
    # The last label stands in the middle below its tick, and must not be cut off.
    beyond = x_axis(x_axis.ticks[-1]) + CHARACTER_WIDTH * len(x_axis.labels()[-1]) / 2 - WIDTH
    if beyond > 0:
        right += beyond
        x_axis = _x_scale(xs, left, WIDTH - right, whole_x)
    parts = [*_axes(x_axis, y_axis, x_label, left, WIDTH - right)]
    parts += [_band(one, x_axis, y_axis) for one in series if one.low]
    for one in series:
        parts += _curve(one, x_axis, y_axis)
    if names:
        parts += _end_labels(series, x_axis, y_axis, WIDTH - right + 6, right - 6)
    for mark in marks:
        parts += _callout(mark, x_axis, y_axis)
    height = HEIGHT
    if legend:
        parts += _legend(series, left)
        height += _LEGEND_ROW * len(series) + 4
    return picture(figure_id, title, description, WIDTH, height, *parts)


def _legend(series: Sequence[Series], left: float) -> list[Markup]:
    parts = []
    for index, one in enumerate(series):
        y, style = HEIGHT + _LEGEND_ROW * (index + 0.5), one.style % 8
        parts.append(line(left, y, left + 30, y, f"line line-{style}"))
        if one.markers:
            kind = SHAPES[one.style % len(SHAPES)]
            parts.append(shape(kind, left + 15, y, f"marker marker-{style}", radius=3.2))
        parts.append(text(left + 38, y + 4, fit(one.label, WIDTH - left - 42), f"end-label text-{style}"))
    return parts


def _x_scale(values: Sequence[float], start: float, stop: float, every: bool) -> Scale:
    low, high = min(values), max(values)
    if not every:
        return scale(low, high, start, stop, tight=True, whole=all(float(value).is_integer() for value in values))
    if low == high:
        low, high = low - 0.5, high + 0.5
    step = max(1, -(-int(high - low) // 12))
    ticks = tuple(float(tick) for tick in range(-int(-low // 1), int(high) + 1, step))
    return Scale(low, high, start, stop, ticks)


def _axes(x_axis: Scale, y_axis: Scale, x_label: str, left: float, right: float) -> list[Markup]:
    floor = HEIGHT - _BOTTOM
    parts = []
    for tick, words in zip(y_axis.ticks, y_axis.labels(), strict=True):
        parts.append(line(left, y_axis(tick), right, y_axis(tick), "grid"))
        parts.append(text(left - 6, y_axis(tick) + 3.8, words, "tick", "end"))
    parts.append(line(left, floor, right, floor, "axis"))
    for tick, words in zip(x_axis.ticks, x_axis.labels(), strict=True):
        parts.append(line(x_axis(tick), floor, x_axis(tick), floor + 4, "axis"))
        parts.append(text(x_axis(tick), floor + 16, words, "tick", "middle"))
    parts.append(text((left + right) / 2, HEIGHT - 6, x_label, "axis-label", "middle"))
    return parts


def _band(one: Series, x_axis: Scale, y_axis: Scale) -> Markup:
    above = [(x_axis(x), y_axis(y)) for x, y in zip(one.x, one.high, strict=True)]
    below = [(x_axis(x), y_axis(y)) for x, y in zip(one.x, one.low, strict=True)]
    return path([*above, *reversed(below)], f"band band-{one.style % 8}", closed=True)


def _curve(one: Series, x_axis: Scale, y_axis: Scale) -> list[Markup]:
    points = [(x_axis(x), y_axis(y)) for x, y in zip(one.x, one.y, strict=True)]
    parts = [path(points, f"line line-{one.style % 8}")] if len(points) > 1 else []
    if one.markers or len(points) == 1:
        kind = SHAPES[one.style % len(SHAPES)]
        parts += [shape(kind, x, y, f"marker marker-{one.style % 8}", radius=3.2) for x, y in points]
    return parts


def _end_labels(series: Sequence[Series], x_axis: Scale, y_axis: Scale, left: float, room: float) -> list[Markup]:
    """Write each line's name beside its last point, moved apart where lines end close together."""
    wanted = sorted((y_axis(one.y[-1]), index) for index, one in enumerate(series))
    places = spread([place for place, _ in wanted], _TOP, HEIGHT - _BOTTOM)
    parts = []
    for (end, index), place in zip(wanted, places, strict=True):
        one = series[index]
        parts.append(line(x_axis(one.x[-1]) + 1, end, left - 1, place, f"leader line-{one.style % 8}"))
        parts.append(text(left + 1, place + 3.6, fit(one.label, room), f"end-label text-{one.style % 8}"))
    return parts


def spread(places: Sequence[float], low: float, high: float) -> list[float]:
    """Push sorted label positions apart to `_LABEL_GAP` (less where that does not fit), inside `low` … `high`."""
    gap = min(_LABEL_GAP, (high - low) / max(len(places) - 1, 1))
    out: list[float] = []
    for place in places:
        out.append(max(place, out[-1] + gap) if out else max(place, low))
    if out and out[-1] > high:
        out[-1] = high
        for index in range(len(out) - 2, -1, -1):
            out[index] = min(out[index], out[index + 1] - gap)
    return out


def _callout(mark: Mark, x_axis: Scale, y_axis: Scale) -> list[Markup]:
    x, y = x_axis(mark.x), y_axis(mark.y)
    width = len(mark.label) * CHARACTER_WIDTH
    anchor = "start" if x + width < WIDTH - 10 else "end"
    above = y - _TOP > 20
    ring = element("circle", cx=x, cy=y, r=7, class_="ring")
    if not mark.label:
        return [ring]
    return [
        ring,
        text(x if anchor == "start" else x + 4, y - 12 if above else y + 20, mark.label, "callout", anchor),
    ]
