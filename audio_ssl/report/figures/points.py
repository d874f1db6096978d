"""Two figures of many clips: references against answers, and the scores of same and different pairs."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from audio_ssl.report.figures.svg import CHARACTER_WIDTH, Scale, element, line, path, picture, scale, text

WIDTH, HEIGHT = 348.0, 300.0
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
    floor = HEIGHT - _BOTTOM
    y_axis = scale(min(values), max(values), floor, _TOP)
    left = 28 + CHARACTER_WIDTH * max(map(len, y_axis.labels()))
    x_axis = Scale(y_axis.low, y_axis.high, left, WIDTH - _RIGHT, y_axis.ticks)
    parts = [*_frame(x_axis, y_axis, left, WIDTH - _RIGHT, floor)]
    ends = (y_axis.low, y_axis.high)
    parts.append(line(x_axis(ends[0]), y_axis(ends[0]), x_axis(ends[1]), y_axis(ends[1]), "zero"))
    parts += [element("circle", cx=x_axis(x), cy=y_axis(y), r=2.6, class_="point") for x, y in points]
    parts.append(text((left + WIDTH - _RIGHT) / 2, HEIGHT - 6, "reference", "axis-label", "middle"))
    middle = (floor + _TOP) / 2
    parts.append(
        element(
            "text", "answer", x=11, y=middle, class_="axis-label", text_anchor="middle",
            transform=f"rotate(-90 11 {middle:.1f})",
        )
    )  # fmt: skip
    return picture(figure_id, title, description, WIDTH, HEIGHT, *parts)


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
    right = WIDTH - _RIGHT
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
    return picture(figure_id, title, description, WIDTH, height, *parts)


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
