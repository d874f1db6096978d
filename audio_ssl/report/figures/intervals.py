"""Figures with a row for each score, gap or amount.

Scores as a shape with its interval, one row each, and an arrow that says which way is better.

Many gaps over one axis, each with a line of words above it: what is compared, and how large the gap is.

Amounts of named groups as lying bars, each with its name and its amount written beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from audio_ssl.report.numbers import score, signed
from audio_ssl.report.svg import CHARACTER_WIDTH, Scale, element, fit, line, path, picture, scale, shape, text

WIDTH = 348.0
_ROW, _TOP, _BOTTOM, _RIGHT = 40.0, 8.0, 52.0, 14.0
_LABEL_ROOM = 132.0


@dataclass(frozen=True)
class Dot:
    """One score: its name, value, interval (either end may be missing) and the marker that stands for it."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    shape: str = "circle"
    note: str = ""
    """A second, smaller line under the label, such as the number of speakers."""
    quiet: bool = False
    """Drawn grey and small: a row to compare with, such as all clips together."""
    style: int | None = None
    """Which of the eight colours, where rows of one kind share theirs; the row's place if None."""


def interval_chart(
    figure_id: str,
    title: str,
    description: str,
    dots: Sequence[Dot],
    *,
    axis_label: str,
    unit: str = "",
    higher_is_better: bool | None = None,
    zero: tuple[str, str] | None = None,
    reference: float | None = None,
    span: Sequence[float] = (),
) -> Markup:
    """Draw one row per dot over a common axis.

    Parameters
    ----------
    figure_id
        Unique on the page.
    title, description
        What a screen reader says.
    dots
        At least one.
    axis_label
        Name of the score, written below the axis.
    unit
        Unit of the values; ``%`` is written after them.
    higher_is_better
        Draws an arrow towards the better end; None draws none.
    zero
        The figure shows differences: draw a line at zero and these words at its left and right.
    reference
        A value to draw a dotted line at.
    span
        Values that the axis must reach, so that figures side by side share theirs.
    """
    wide = max(len(dot.label) for dot in dots) * CHARACTER_WIDTH + 20
    left = min(max(wide, *(len(dot.note) * CHARACTER_WIDTH * 0.9 + 14 for dot in dots), 60.0), _LABEL_ROOM)
    height = _TOP + _ROW * len(dots) + _BOTTOM
    floor = height - _BOTTOM
    values = [value for dot in dots for value in (dot.value, dot.low, dot.high) if value is not None]
    values += span
    if zero is not None:
        # Zero in the middle: which side a gap lies on is the first thing to see.
        reach = max(map(abs, values)) or 1.0
        values = [-reach, reach]
    elif any(dot.low is None for dot in dots):
        # Without intervals nothing else keeps a small difference from filling the figure.
        values.append(0.0)
    axis = scale(min(values), max(values), left, WIDTH - _RIGHT)
    parts = _axis(axis, floor)
    if zero is not None:
        parts.append(line(axis(0.0), _TOP, axis(0.0), floor, "zero"))
    if reference is not None:
        parts.append(line(axis(reference), _TOP, axis(reference), floor, "reference"))
    for index, dot in enumerate(dots):
        parts += _row(dot, index, axis, left, unit, signs=zero is not None)
    parts += _legend(axis, height, axis_label, higher_is_better, zero)
    return picture(figure_id, title, description, WIDTH, height, *parts)


def _axis(axis: Scale, floor: float) -> list[Markup]:
    parts = []
    for tick, words in zip(axis.ticks, axis.labels(), strict=True):
        parts.append(line(axis(tick), _TOP, axis(tick), floor, "grid"))
        parts.append(text(axis(tick), floor + 14, words, "tick", "middle"))
    parts.append(line(axis.start, floor, axis.stop, floor, "axis"))
    return parts


def _row(dot: Dot, index: int, axis: Scale, left: float, unit: str, signs: bool) -> list[Markup]:
    middle = _TOP + _ROW * (index + 0.5) + 5
    style = index % 8 if dot.style is None else dot.style
    parts = [text(left - 10, middle + (0 if dot.note else 4), fit(dot.label, left - 12), "row-label", "end")]
    if dot.note:
        parts.append(text(left - 10, middle + 12, fit(dot.note, (left - 12) / 0.9), "row-note", "end"))
    x = axis(dot.value)
    if dot.low is not None and dot.high is not None:
        low, high = axis(dot.low), axis(dot.high)
        stroke = "quiet" if dot.quiet else f"line-{style}"
        parts.append(line(low, middle, high, middle, f"whisker {stroke}"))
        parts += [line(end, middle - 4, end, middle + 4, f"whisker {stroke}") for end in (low, high)]
    colour = "quiet" if dot.quiet else f"marker-{style}"
    parts.append(shape(dot.shape, x, middle, f"dot {colour}", radius=4 if dot.quiet else 5))
    words = signed(dot.value, "points" if unit else "") if signs else score(dot.value, unit)
    half = len(words) * CHARACTER_WIDTH / 2
    parts.append(text(min(max(x, left + half), WIDTH - half - 2), middle - 10, words, "value", "middle"))
    return parts


def _legend(
    axis: Scale, height: float, label: str, higher_is_better: bool | None, zero: tuple[str, str] | None
) -> list[Markup]:
    base = height - 8
    if zero is not None:
        long = max(map(len, zero)) * CHARACTER_WIDTH > (axis.stop - axis.start) / 2 - 20
        return [
            text(axis.start, base - (15 if long else 0), f"← {zero[0]}", "axis-label"),
            text(axis.stop, base, f"{zero[1]} →", "axis-label", "end"),
        ]
    if higher_is_better is None:
        return [text((axis.start + axis.stop) / 2, base, label, "axis-label", "middle")]
    words = fit(f"{label}, better this way", WIDTH - 40)
    if higher_is_better:
        tip, tail, back = axis.stop, axis.stop - 18, -4
        place = text(tail - 6, base, words, "axis-label", "end")
    else:
        tip = max(min(axis.start, WIDTH - 30 - len(words) * CHARACTER_WIDTH), 4.0)
        tail, back = tip + 18, 4
        place = text(tail + 6, base, words, "axis-label")
    return [
        place,
        line(tail, base - 4, tip, base - 4, "arrow"),
        path([(tip + back, base - 8), (tip, base - 4), (tip + back, base)], "arrow"),
    ]


_FOREST_ROW, _FOREST_TOP, _FOREST_BOTTOM, _EDGE = 40.0, 6.0, 46.0, 20.0
_EXTRA = 15.0
"""Height of each mark of a row beyond its first."""


@dataclass(frozen=True)
class Estimate:
    """One mark of a row: a value with its interval, either end of which may be missing."""

    value: float
    low: float | None = None
    high: float | None = None
    shape: str = "circle"
    filled: bool = True


@dataclass(frozen=True)
class Row:
    """One row: what is compared, the gap in words, and the marks that show it."""

    label: str
    words: str
    estimates: tuple[Estimate, ...]


def forest(
    figure_id: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    *,
    sides: tuple[str, str],
    unit: str = "%",
    span: Sequence[float] = (),
) -> Markup:
    """Draw gaps around zero, one row each.

    Parameters
    ----------
    figure_id
        Unique on the page.
    title, description
        What a screen reader says.
    rows
        At least one, each with at least one estimate.
    sides
        What lies left and right of zero.
    unit
        Written after the axis's numbers.
    span
        Values that the axis must reach, so that figures side by side share theirs.
    """
    marks = [one for row in rows for one in row.estimates]
    values = [value for one in marks for value in (one.value, one.low, one.high) if value is not None]
    low, high = min(*values, *span, 0.0), max(*values, *span, 0.0)
    # Both sides of no gap are in sight, so that the words below mean something.
    least = 0.2 * (high - low) or 1.0
    axis = scale(min(low, -least), max(high, least), _EDGE, WIDTH - _EDGE, ticks=6)
    tall = sum(_FOREST_ROW + _EXTRA * (len(row.estimates) - 1) for row in rows)
    floor = _FOREST_TOP + tall
    parts = _forest_axis(axis, floor, unit)
    top = _FOREST_TOP
    for row in rows:
        parts += _forest_row(row, axis, top)
        top += _FOREST_ROW + _EXTRA * (len(row.estimates) - 1)
    long = max(map(len, sides)) * CHARACTER_WIDTH > WIDTH / 2 - _EDGE - 20
    parts.append(text(2, floor + (28 if long else 34), fit(f"← {sides[0]}", WIDTH - 8), "axis-label"))
    parts.append(text(WIDTH - 2, floor + (43 if long else 34), fit(f"{sides[1]} →", WIDTH - 8), "axis-label", "end"))
    return picture(figure_id, title, description, WIDTH, floor + _FOREST_BOTTOM, *parts)


def _forest_axis(axis: Scale, floor: float, unit: str) -> list[Markup]:
    parts = []
    # The sign says on which side of zero a tick is, and the unit is said once, at the right end.
    labels = [f"+{words}" if tick > 0 else words for tick, words in zip(axis.ticks, axis.labels(), strict=True)]
    last = f"{labels[-1]}{unit}"
    free = WIDTH - 8 - len(last) * CHARACTER_WIDTH
    for tick, words in zip(axis.ticks, labels, strict=True):
        parts.append(line(axis(tick), _FOREST_TOP, axis(tick), floor, "grid"))
        if tick == axis.ticks[-1]:
            parts.append(text(WIDTH - 1, floor + 14, last, "tick", "end"))
        elif axis(tick) + len(words) * CHARACTER_WIDTH / 2 < free:
            parts.append(text(axis(tick), floor + 14, words, "tick", "middle"))
    parts.append(line(axis.start, floor, axis.stop, floor, "axis"))
    parts.append(line(axis(0.0), _FOREST_TOP, axis(0.0), floor, "zero"))
    return parts


def _forest_row(row: Row, axis: Scale, top: float) -> list[Markup]:
    room = WIDTH - 16 - len(row.words) * CHARACTER_WIDTH
    parts = [
        # The words cross the grid and the line of no gap, so they have a rim of paper.
        text(2, top + 13, fit(row.label, room), "row-label over"),
        text(WIDTH - 2, top + 13, row.words, "value over", "end"),
    ]
    for index, one in enumerate(row.estimates):
        middle = top + 26 + _EXTRA * index
        if one.low is not None and one.high is not None:
            low, high = axis(one.low), axis(one.high)
            parts.append(line(low, middle, high, middle, "whisker line-0"))
            parts += [line(end, middle - 4, end, middle + 4, "whisker line-0") for end in (low, high)]
        parts.append(shape(one.shape, axis(one.value), middle, f"dot {'marker-0' if one.filled else 'open'}"))
    return parts


_BAR_ROW, _BAR_TOP, _BAR_BOTTOM = 40.0, 8.0, 40.0


@dataclass(frozen=True)
class Bar:
    """One group: its name, its amount, and that amount in words."""

    label: str
    value: float
    words: str
    filled: bool = True
    """Hollow bars stand for what has no group, such as the unknown."""


def lying_bars(figure_id: str, title: str, description: str, bars: Sequence[Bar], axis_label: str) -> Markup:
    """Draw one bar per group from zero, none negative.

    Parameters
    ----------
    figure_id
        Unique on the page.
    title, description
        What a screen reader says.
    bars
        At least one.
    axis_label
        What is counted, written below the axis.
    """
    left = min(max(max(len(bar.label) for bar in bars) * CHARACTER_WIDTH + 20, 60.0), _LABEL_ROOM)
    height = _BAR_TOP + _BAR_ROW * len(bars) + _BAR_BOTTOM
    floor = height - _BAR_BOTTOM
    axis = scale(0.0, max(*(bar.value for bar in bars), 1e-9), left, WIDTH - 14)
    parts = []
    for tick, words in zip(axis.ticks, axis.labels(), strict=True):
        parts.append(line(axis(tick), _BAR_TOP, axis(tick), floor, "grid"))
        parts.append(text(axis(tick), floor + 14, words, "tick", "middle"))
    for index, bar in enumerate(bars):
        y = _BAR_TOP + _BAR_ROW * index
        parts.append(text(left - 10, y + 29, fit(bar.label, left - 12), "row-label", "end"))
        parts.append(text(left + 3, y + 13, fit(bar.words, WIDTH - left - 6), "value"))
        class_ = "bar" if bar.filled else "dot marker-7"
        wide = max(axis(bar.value) - left, 0.8)
        parts.append(element("rect", x=left, y=y + 18, width=wide, height=14, class_=class_))
    parts.append(line(left, _BAR_TOP, left, floor, "axis"))
    parts.append(text((axis.start + axis.stop) / 2, height - 6, axis_label, "axis-label", "middle"))
    return picture(figure_id, title, description, WIDTH, height, *parts)
