"""Many gaps over one axis, each with a line of words above it: what is compared, and how large the gap is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from audio_ssl.report.figures.svg import CHARACTER_WIDTH, Scale, fit, line, picture, scale, shape, text

WIDTH = 348.0
_ROW, _TOP, _BOTTOM, _EDGE = 40.0, 6.0, 46.0, 20.0
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
    tall = sum(_ROW + _EXTRA * (len(row.estimates) - 1) for row in rows)
    floor = _TOP + tall
    parts = _axis(axis, floor, unit)
    top = _TOP
    for row in rows:
        parts += _row(row, axis, top)
        top += _ROW + _EXTRA * (len(row.estimates) - 1)
    long = max(map(len, sides)) * CHARACTER_WIDTH > WIDTH / 2 - _EDGE - 20
    parts.append(text(2, floor + (28 if long else 34), fit(f"← {sides[0]}", WIDTH - 8), "axis-label"))
    parts.append(text(WIDTH - 2, floor + (43 if long else 34), fit(f"{sides[1]} →", WIDTH - 8), "axis-label", "end"))
    return picture(figure_id, title, description, WIDTH, floor + _BOTTOM, *parts)


def _axis(axis: Scale, floor: float, unit: str) -> list[Markup]:
    parts = []
    for tick, words in zip(axis.ticks, axis.labels(), strict=True):
        parts.append(line(axis(tick), _TOP, axis(tick), floor, "grid"))
        # The sign says on which side of zero a tick is, and the unit is said once, at the right end.
        words = f"+{words}" if tick > 0 else words
        if tick == axis.ticks[-1]:
            parts.append(text(WIDTH - 1, floor + 14, f"{words}{unit}", "tick", "end"))
        else:
            parts.append(text(axis(tick), floor + 14, words, "tick", "middle"))
    parts.append(line(axis.start, floor, axis.stop, floor, "axis"))
    parts.append(line(axis(0.0), _TOP, axis(0.0), floor, "zero"))
    return parts


def _row(row: Row, axis: Scale, top: float) -> list[Markup]:
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
