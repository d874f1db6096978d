"""Figures of rectangles and of points.

Figures made of rectangles: the confusion matrix, the heat map of all runs, bars for learned layer weights.

Two figures of many clips: references against answers, and the scores of same and different pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from audio_ssl.report.numbers import count
from audio_ssl.report.svg import CHARACTER_WIDTH, Scale, element, fit, line, path, picture, scale, text

WIDTH = 348.0


def confusion_matrix(
    figure_id: str, title: str, labels: Sequence[str], counts: Sequence[Sequence[int]], shares: bool = False
) -> tuple[Markup, float]:
    """Draw counts by reference (row) and answer (column); each row is shaded by its own total.

    The count is written in every cell that is not empty, so the figure reads without its shades; with `shares`, the
    percentage of its row instead.

    Returns
    -------
    tuple
        The figure and its width in SVG units; matrices of many classes are wider than a column of the page.
    """
    room = min(max(map(len, labels)), 9) * CHARACTER_WIDTH + 10
    cell = 22.0
    left, top = room + 16, room + 22
    side = cell * len(labels)
    width, height = left + side + 4, top + side + 6
    parts = [
        text(left + side / 2, 11, "answered", "axis-label", "middle"),
        element(
            "text", "reference", x=10, y=top + side / 2, class_="axis-label", text_anchor="middle",
            transform=f"rotate(-90 10 {top + side / 2:.1f})",
        ),
    ]  # fmt: skip
    for index, label in enumerate(labels):
        middle = cell * (index + 0.5) + 4
        parts.append(text(left - 6, top + middle, fit(label, room), "tick", "end"))
        x, y = left + middle, top - 6
        turned = f"rotate(-90 {x:.1f} {y:.1f})"
        parts.append(element("text", fit(label, room), x=x, y=y, class_="tick", transform=turned))
    right = sum(counts[index][index] for index in range(len(labels)))
    total = sum(map(sum, counts))
    for row, numbers in enumerate(counts):
        parts += _matrix_row(numbers, row, left, top + cell * row, cell, shares)
    words = f"{right} of {count(total, 'clip')} on the diagonal"
    return picture(figure_id, title, words, max(width, WIDTH), height, *parts), max(width, WIDTH)


def _matrix_row(numbers: Sequence[int], row: int, left: float, y: float, cell: float, shares: bool) -> list[Markup]:
    total = sum(numbers)
    parts = []
    for column, number in enumerate(numbers):
        share = number / total if total else 0.0
        # The page mixes the accent into the paper by this share; "deep" cells get light text.
        parts.append(
            element(
                "rect", x=left + cell * column + 0.5, y=y + 0.5, width=cell - 1, height=cell - 1,
                class_="cell diagonal" if row == column else "cell", style=f"--share:{share:.2f}",
            )
        )  # fmt: skip
        if number:
            tone = "cell-count deep" if share > 0.55 else "cell-count"
            words = f"{100 * share:.0f}" if shares else str(number)
            parts.append(text(left + cell * (column + 0.5), y + cell / 2 + 4, words, tone, "middle"))
    return parts


def heat_map(
    figure_id: str,
    title: str,
    description: str,
    columns: Sequence[str],
    rows: Sequence[str],
    values: Sequence[Sequence[float | None]],
    *,
    written: Sequence[Sequence[str]],
    marks: Sequence[tuple[int, int]] = (),
    higher_is_better: bool = True,
    x_label: str = "",
    y_label: str = "",
) -> tuple[Markup, float]:
    """Draw a value a cell, shaded from the worst (pale) to the best (full), and written in it.

    Parameters
    ----------
    figure_id
        Unique on the page.
    title, description
        What a screen reader says.
    columns, rows
        Labels of the axes.
    values
        ``[row][column]``; None has no shade.
    written
        What stands in each cell.
    marks
        Cells ``(row, column)`` that get a frame.
    higher_is_better
        Which end is the full one.
    x_label, y_label
        Names of the axes.

    Returns
    -------
    tuple
        The figure and its width in SVG units; maps of many columns are wider than a column of the page.
    """
    wide = max((len(words) for line_ in written for words in line_), default=1)
    cell, tall = max(24.0, wide * CHARACTER_WIDTH + 6), 24.0
    left, top = max(map(len, rows)) * CHARACTER_WIDTH + 26, 36.0
    width, height = left + cell * len(columns) + 6, top + tall * len(rows) + 6
    middle = top + tall * len(rows) / 2
    parts = [
        text(left + cell * len(columns) / 2, 11, x_label, "axis-label", "middle"),
        element(
            "text", y_label, x=10, y=middle, class_="axis-label", text_anchor="middle",
            transform=f"rotate(-90 10 {middle:.1f})",
        ),
    ]  # fmt: skip
    parts += [text(left + cell * (index + 0.5), top - 7, name, "tick", "middle") for index, name in enumerate(columns)]
    known = [value for line_ in values for value in line_ if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    for row, name in enumerate(rows):
        y = top + tall * row
        parts.append(text(left - 6, y + tall / 2 + 4, name, "tick", "end"))
        for column, value in enumerate(values[row]):
            share = 0.0 if value is None or high == low else (value - low) / (high - low)
            share = (share if higher_is_better else 1 - share) if value is not None and high > low else 0.0
            tone = "cell-count deep" if share > 0.55 else "cell-count"
            x = left + cell * column
            box = {"x": x + 0.5, "y": y + 0.5, "width": cell - 1, "height": tall - 1}
            parts.append(element("rect", class_="cell", style=f"--share:{share:.2f}", **box))
            parts.append(text(x + cell / 2, y + tall / 2 + 4, written[row][column], tone, "middle"))
    for row, column in marks:
        x, y = left + cell * column, top + tall * row
        parts.append(element("rect", x=x + 1, y=y + 1, width=cell - 2, height=tall - 2, class_="ring"))
    return picture(figure_id, title, description, max(width, WIDTH), height, *parts), max(width, WIDTH)


def bar_chart(
    figure_id: str, title: str, description: str, labels: Sequence[str], values: Sequence[float], x_label: str
) -> Markup:
    """Draw one upright bar per value (none negative) from zero, with the labels below."""
    height, top, bottom, left = 216.0, 16.0, 40.0, 46.0
    axis = scale(0.0, max(*values, 1e-9), height - bottom, top)
    step = (WIDTH - left - 10) / len(values)
    parts = []
    for tick, words in zip(axis.ticks, axis.labels(), strict=True):
        parts.append(line(left, axis(tick), WIDTH - 10, axis(tick), "grid"))
        parts.append(text(left - 6, axis(tick) + 3.8, words, "tick", "end"))
    every = -(-len(values) // 14)
    for index, (label, value) in enumerate(zip(labels, values, strict=True)):
        x = left + step * index
        tall = axis(0.0) - axis(value)
        parts.append(element("rect", x=x + step * 0.14, y=axis(value), width=step * 0.72, height=tall, class_="bar"))
        if index % every == 0:
            parts.append(text(x + step / 2, height - bottom + 15, label, "tick", "middle"))
    parts.append(line(left, axis(0.0), WIDTH - 10, axis(0.0), "axis"))
    parts.append(text((left + WIDTH - 10) / 2, height - 6, x_label, "axis-label", "middle"))
    return picture(figure_id, title, description, WIDTH, height, *parts)


POINTS_WIDTH, POINTS_HEIGHT = 348.0, 300.0
_TOP, _BOTTOM, _RIGHT = 14.0, 40.0, 12.0


def scatter(figure_id: str, title: str, description: str, points: Sequence[Sequence[float]]) -> Markup:
    """Draw answers over references, with a dashed line where they are equal.

    Parameters
    ----------
    figure_id
        Unique on the page.
    title, description
        What a screen reader says.
    points
        ``[reference, answer]`` of each clip, at least one.
    """
    values = [value for point in points for value in point]
    floor = POINTS_HEIGHT - _BOTTOM
    y_axis = scale(min(values), max(values), floor, _TOP)
    left = 28 + CHARACTER_WIDTH * max(map(len, y_axis.labels()))
    x_axis = Scale(y_axis.low, y_axis.high, left, POINTS_WIDTH - _RIGHT, y_axis.ticks)
    parts = [*_frame(x_axis, y_axis, left, POINTS_WIDTH - _RIGHT, floor)]
    ends = (y_axis.low, y_axis.high)
    parts.append(line(x_axis(ends[0]), y_axis(ends[0]), x_axis(ends[1]), y_axis(ends[1]), "zero"))
    parts += [element("circle", cx=x_axis(x), cy=y_axis(y), r=2.6, class_="point") for x, y in points]
    parts.append(text((left + POINTS_WIDTH - _RIGHT) / 2, POINTS_HEIGHT - 6, "reference", "axis-label", "middle"))
    middle = (floor + _TOP) / 2
    parts.append(
        element(
            "text", "answer", x=11, y=middle, class_="axis-label", text_anchor="middle",
            transform=f"rotate(-90 11 {middle:.1f})",
        )
    )  # fmt: skip
    return picture(figure_id, title, description, POINTS_WIDTH, POINTS_HEIGHT, *parts)


def trial_histogram(
    figure_id: str,
    title: str,
    description: str,
    edges: Sequence[float],
    same: Sequence[float],
    different: Sequence[float],
    threshold: float,
    callout: str,
) -> Markup:
    """Draw two outlines, pairs of the same (full line) and of different ones (dashed), and the threshold.

    Parameters
    ----------
    figure_id
        Unique on the page.
    title, description
        What a screen reader says.
    edges
        ``[bin + 1]``, the scores between which a bin lies.
    same, different
        ``[bin]``, shares of their kind.
    threshold
        Where the line stands.
    callout
        What is written beside it.
    """
    height, top = 240.0, 48.0
    floor = height - _BOTTOM
    y_axis = scale(0.0, 100 * max(*same, *different, 1e-9), floor, top)
    left = 16 + CHARACTER_WIDTH * max(len(words) + 2 for words in y_axis.labels())
    right = POINTS_WIDTH - _RIGHT
    x_axis = scale(edges[0], edges[-1], left, right, tight=True)
    parts = [*_frame(x_axis, y_axis, left, right, floor, unit=" %")]
    for style, shares in ((1, different), (0, same)):
        steps = [(edges[0], 0.0)]
        for index, share in enumerate(shares):
            steps += [(edges[index], 100 * share), (edges[index + 1], 100 * share)]
        steps.append((edges[-1], 0.0))
        outline = [(x_axis(x), y_axis(y)) for x, y in steps]
        parts += [path(outline, f"band band-{style}", closed=True), path(outline, f"line line-{style}")]
    x = x_axis(min(max(threshold, edges[0]), edges[-1]))
    parts.append(line(x, top - 6, x, floor, "threshold"))
    half = len(callout) * CHARACTER_WIDTH / 2
    parts.append(text(min(max(x, left + half), right - half), top - 11, callout, "callout", "middle"))
    for style, words, place in ((0, "same", left), (1, "different", left + 96)):
        parts.append(line(place, 12, place + 22, 12, f"line line-{style}"))
        parts.append(text(place + 28, 16, words, f"end-label text-{style}"))
    parts.append(text((left + right) / 2, height - 6, "score of a pair", "axis-label", "middle"))
    return picture(figure_id, title, description, POINTS_WIDTH, height, *parts)


def _frame(x_axis: Scale, y_axis: Scale, left: float, right: float, floor: float, unit: str = "") -> list[Markup]:
    parts = []
    for tick, words in zip(y_axis.ticks, y_axis.labels(), strict=True):
        parts.append(line(left, y_axis(tick), right, y_axis(tick), "grid"))
        parts.append(text(left - 6, y_axis(tick) + 3.8, f"{words}{unit}", "tick", "end"))
    parts.append(line(left, floor, right, floor, "axis"))
    for tick, words in zip(x_axis.ticks, x_axis.labels(), strict=True):
        parts.append(line(x_axis(tick), floor, x_axis(tick), floor + 4, "axis"))
        parts.append(text(x_axis(tick), floor + 16, words, "tick", "middle"))
    return parts
