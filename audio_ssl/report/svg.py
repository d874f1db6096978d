"""SVG elements as escaped strings, axis ticks, and the frame every figure shares.

Why not a plotting library: the figures must follow the page's light and dark colours, be read out by screen readers,
print well, and come out byte for byte the same each time. That takes a handful of elements and one tick rule. Colour,
font and dash live in ``templates/style.css.jinja``; a figure only names classes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from audio_ssl.report.numbers import number

SHAPES = ("circle", "square", "diamond", "triangle")
"""Marks that can be told apart without colour."""
CHARACTER_WIDTH = 6.8
"""Mean width of a character of the figures' 12-unit type, in SVG units (measured on DejaVu Sans, a wide face)."""


def element(tag: str, *children: str | Markup, **attributes: str | float | None) -> Markup:
    """Build one element; text children and attribute values are escaped, None attributes left out.

    A trailing underscore is dropped from attribute names and other underscores become hyphens.

    Examples
    --------
    >>> str(element("text", "a < b", x=1.50, class_="label"))
    '<text x="1.5" class="label">a &lt; b</text>'
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(children)
    return Markup(f"<{tag}{written}>{inner}</{tag}>") if inner else Markup(f"<{tag}{written}/>")


def _plain(value: str | float) -> str:
    if isinstance(value, str):
        return value
    short = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if short == "-0" else short


def picture(figure_id: str, title: str, description: str, width: float, height: float, *children: Markup) -> Markup:
    """Wrap `children` in an ``<svg role="img">`` that names and describes itself to assistive technology."""
    return element(
        "svg",
        element("title", title, id=f"{figure_id}-title"),
        element("desc", description, id=f"{figure_id}-desc"),
        *children,
        viewBox=f"0 0 {_plain(width)} {_plain(height)}",
        role="img",
        aria_labelledby=f"{figure_id}-title {figure_id}-desc",
        class_="chart",
    )


def text(x: float, y: float, words: str, class_: str = "", anchor: str = "start") -> Markup:
    """Write a line of text with its baseline at `y`."""
    return element("text", words, x=x, y=y, class_=class_ or None, text_anchor=None if anchor == "start" else anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Draw a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str, closed: bool = False) -> Markup:
    """Draw a line through `points`, or the area they enclose."""
    steps = " ".join(f"{'M' if index == 0 else 'L'}{_plain(x)} {_plain(y)}" for index, (x, y) in enumerate(points))
    return element("path", d=steps + (" Z" if closed else ""), class_=class_)


def shape(kind: str, x: float, y: float, class_: str, radius: float = 5) -> Markup:
    """Draw a marker centred at (x, y); the kinds differ in outline, so they are told apart without colour."""
    if kind == "circle":
        return element("circle", cx=x, cy=y, r=radius, class_=class_)
    corners = {
        "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        "diamond": [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
        "triangle": [(0, -1.15), (1.1, 0.85), (-1.1, 0.85)],
    }[kind]
    return path([(x + radius * dx, y + radius * dy) for dx, dy in corners], class_, closed=True)


@dataclass(frozen=True)
class Scale:
    """A linear map from data (`low` … `high`) to SVG units (`start` … `stop`), with its ticks."""

    low: float
    high: float
    start: float
    stop: float
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """Map a value to its place."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def labels(self) -> list[str]:
        """Write every tick with the digits that tell it from its neighbours; very small ones as powers of ten.

        Examples
        --------
        >>> Scale(0, 1, 0, 1, (0.0, 2e-5, 1e-4)).labels(), Scale(0, 1, 0, 1, (0.50001, 0.50002)).labels()
        (['0', '2e−5', '1e−4'], ['0.50001', '0.50002'])
        """
        largest = max(map(abs, self.ticks))
        step = min((b - a for a, b in itertools.pairwise(self.ticks)), default=largest)
        if largest == 0 or step <= 0:
            return [number(tick) for tick in self.ticks]
        power = math.floor(math.log10(step) + 1e-9)
        if not 1e-3 <= largest < 1e7:
            return [_power_of_ten(tick, power) for tick in self.ticks]
        return [f"{tick:,.{max(0, -power)}f}".replace("-", "−") for tick in self.ticks]


def _power_of_ten(tick: float, power: int) -> str:
    """Write a number as a mantissa and an exponent, down to the digit of 10 to the `power`."""
    if tick == 0:
        return "0"
    digits = max(0, math.floor(math.log10(abs(tick)) + 1e-9) - power)
    mantissa, exponent = f"{tick:.{digits}e}".split("e")
    short = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{short}e{int(exponent)}".replace("-", "−")


def scale(
    low: float, high: float, start: float, stop: float, ticks: int = 4, tight: bool = False, whole: bool = False
) -> Scale:
    """Choose round ticks (1, 2, 5 · 10ⁿ) and widen the range to the outermost ones, unless `tight`.

    With `whole` only whole numbers get ticks, such as steps.

    Examples
    --------
    >>> scale(0.3, 9.2, 0, 100).ticks
    (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    """
    size = max(abs(low), abs(high))
    if high - low <= 1e-9 * max(size, 1e-3):
        # What is left of a difference of equal numbers is no range to draw.
        spread = 0.1 * size if size > 1e-9 else 1.0
        low, high = low - spread, high + spread
    raw = (high - low) / ticks
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.75)
    if whole:
        step = max(1.0, step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    # Twelve digits take away what binary fractions leave behind, and are more than any two ticks differ in.
    marks = tuple(float(f"{index * step:.12g}") for index in range(first, last + 1))
    if tight:
        marks = tuple(mark for mark in marks if low - 1e-9 * step <= mark <= high + 1e-9 * step)
        return Scale(low, high, start, stop, marks or (low, high))
    return Scale(marks[0], marks[-1], start, stop, marks)


def fit(words: str, width: float) -> str:
    """Shorten `words` to about `width` SVG units, with an ellipsis.

    Examples
    --------
    >>> fit("untrained twin", 200), fit("untrained twin", 50)
    ('untrained twin', 'untrai…')
    """
    room = max(int(width / CHARACTER_WIDTH), 2)
    return words if len(words) <= room else f"{words[: room - 1].rstrip()}…"
