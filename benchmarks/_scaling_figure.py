"""The plot of ``scaling.py``: score over compute, one line a size, drawn as an SVG that stands by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from audio_ssl.report.svg import Scale, element, line, path, picture, scale, shape, text

_WIDTH, _HEIGHT = 420.0, 270.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 96.0, 16.0, 44.0
_SHAPES = ("circle", "square", "diamond", "triangle")
_COLOURS = ("#0b5d8a", "#b3500f", "#4d7a1f", "#8a3b86")
# Read on white and on black pages alike: the paper is part of the picture.
_STYLE = (
    "text { font: 12px 'DejaVu Sans', Verdana, sans-serif; fill: #33383f; } .paper { fill: #fff; } "
    ".grid { stroke: #e3e5e8; } .axis { stroke: #8a919b; } .level { stroke: #8a919b; stroke-dasharray: 5 4; } "
    + " ".join(
        f".line-{n} {{ stroke: {c}; fill: none; stroke-width: 2; }} .marker-{n} {{ stroke: {c}; fill: {c}; }} "
        f".text-{n} {{ fill: {c}; }}"
        for n, c in enumerate(_COLOURS)
    )
)


def figure(result: Mapping[str, Any], task: str) -> str:
    """Return the plot of one task, with log-mel's score as a dashed line.

    Parameters
    ----------
    result
        As ``scaling.py`` leaves it.
    task
        One of its tasks.
    """
    rows = [row for row in result["rows"] if row["task"] == task]
    level = next(row["value"] for row in result["baselines"] if row["task"] == task and row["system"] == "log-mel")
    floor, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    values = [row[end] for row in rows for end in ("low", "high")] + [level]
    y_axis = scale(min(values), max(values), floor, _TOP)
    low, high = (math.log10(end(row["tflop"] for row in rows)) for end in (min, max))
    x_axis = Scale(low - 0.08, high + 0.08, _LEFT, right, ())
    lower = task in result["lower_is_better"]
    name = f"{task}, {'character error rate, lower is better' if lower else 'accuracy, higher is better'}, %"
    parts = [element("style", Markup(_STYLE)), element("rect", class_="paper", width=_WIDTH, height=_HEIGHT)]
    parts += _axes(rows, x_axis, y_axis, floor, right)
    parts.append(line(_LEFT, y_axis(level), right, y_axis(level), "level"))
    parts.append(text(right + 4, y_axis(level) + 4, "log-mel", "end-label"))
    for place, size in enumerate(dict.fromkeys(row["size"] for row in rows)):
        parts += _size(
            sorted((row for row in rows if row["size"] == size), key=lambda r: r["tflop"]), place, x_axis, y_axis
        )
    parts += _names(rows, right, y_axis)
    parts.append(text(_LEFT, 11, name, "axis-label"))
    described = "; ".join(f"{row['size']} at {row['tflop']:.1f} TFLOP {row['value']:.1f}" for row in rows)
    drawn = picture(f"scaling-{task}", f"Score over compute: {task}", described, _WIDTH, _HEIGHT, *parts)
    return str(drawn).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def _axes(rows: Sequence[Mapping[str, Any]], x_axis: Scale, y_axis: Scale, floor: float, right: float) -> list[Markup]:
    parts = []
    for tick, words in zip(y_axis.ticks, y_axis.labels(), strict=True):
        parts.append(line(_LEFT, y_axis(tick), right, y_axis(tick), "grid"))
        parts.append(text(_LEFT - 6, y_axis(tick) + 4, words, "tick", "end"))
    parts.append(line(_LEFT, floor, right, floor, "axis"))
    last = -math.inf
    for budget in sorted(float(f"{row['tflop']:.2g}") for row in rows):
        place = x_axis(math.log10(budget))
        # Sizes meet a budget to a rounded update; one tick stands for all of them.
        if place < last + 30:
            continue
        last = place
        parts.append(line(place, floor, place, floor + 4, "axis"))
        parts.append(text(place, floor + 17, f"{budget:g}", "tick", "middle"))
    parts.append(
        text(
            (_LEFT + right) / 2,
            _HEIGHT - 8,
            "TFLOP of training, each tick three times the last",
            "axis-label",
            "middle",
        )
    )
    return parts


def _size(rows: Sequence[Mapping[str, Any]], place: int, x_axis: Scale, y_axis: Scale) -> list[Markup]:
    # Side by side where sizes have one budget, so that whiskers can be told apart.
    points = [(x_axis(math.log10(row["tflop"])) + 4 * (place - 1), row) for row in rows]
    parts = [path([(x, y_axis(row["value"])) for x, row in points], f"line-{place}")]
    for x, row in points:
        parts.append(line(x, y_axis(row["low"]), x, y_axis(row["high"]), f"line-{place}"))
        parts.append(shape(_SHAPES[place], x, y_axis(row["value"]), f"marker-{place}", radius=3.6))
    return parts


def _names(rows: Sequence[Mapping[str, Any]], right: float, y_axis: Scale) -> list[Markup]:
    """Write each size beside its last point, apart from one another."""
    ends = {row["size"]: (row["value"], place) for place, row in enumerate(rows)}
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    parts, last = [], -1e9
    for size in sorted(sizes, key=lambda one: y_axis(ends[one][0])):
        last = max(y_axis(ends[size][0]) + 4, last + 14)
        parts.append(text(right + 4, last, f"{size}", f"end-label text-{sizes.index(size)}"))
    return parts
