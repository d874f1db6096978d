"""Figures made of rectangles: the confusion matrix, the heat map of all runs, bars for learned layer weights."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from audio_ssl.report.figures.svg import CHARACTER_WIDTH, element, fit, line, picture, scale, text
from audio_ssl.report.numbers import count

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
    words = f"{right} of {count(total, 'clip')} lie on the diagonal, where the answer is the reference."
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
