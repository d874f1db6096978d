"""Amounts of named groups as lying bars, each with its name and its amount written beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from audio_ssl.report.figures.svg import CHARACTER_WIDTH, element, fit, line, picture, scale, text

WIDTH = 348.0
_ROW, _TOP, _BOTTOM = 40.0, 8.0, 40.0
_LABEL_ROOM = 132.0


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
    height = _TOP + _ROW * len(bars) + _BOTTOM
    floor = height - _BOTTOM
    axis = scale(0.0, max(*(bar.value for bar in bars), 1e-9), left, WIDTH - 14)
    parts = []
    for tick, words in zip(axis.ticks, axis.labels(), strict=True):
        parts.append(line(axis(tick), _TOP, axis(tick), floor, "grid"))
        parts.append(text(axis(tick), floor + 14, words, "tick", "middle"))
    for index, bar in enumerate(bars):
        y = _TOP + _ROW * index
        parts.append(text(left - 10, y + 29, fit(bar.label, left - 12), "row-label", "end"))
        parts.append(text(left + 3, y + 13, fit(bar.words, WIDTH - left - 6), "value"))
        class_ = "bar" if bar.filled else "dot marker-7"
        wide = max(axis(bar.value) - left, 0.8)
        parts.append(element("rect", x=left, y=y + 18, width=wide, height=14, class_=class_))
    parts.append(line(left, _TOP, left, floor, "axis"))
    parts.append(text((axis.start + axis.stop) / 2, height - 6, axis_label, "axis-label", "middle"))
    return picture(figure_id, title, description, WIDTH, height, *parts)
