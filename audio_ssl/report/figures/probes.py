"""The figures of one probe: layers, all runs, learned weights, training, confusions, values, trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from audio_ssl.metrics.registry import metric_label
from audio_ssl.report.figures.grids import bar_chart, confusion_matrix, heat_map, scatter, trial_histogram
from audio_ssl.report.figures.lines import Mark, Series, line_chart
from audio_ssl.report.html import Figure, Table, make_table
from audio_ssl.report.language import probes as words
from audio_ssl.report.language.phrases import better_words
from audio_ssl.report.numbers import defined, number, score
from audio_ssl.report.probe_summary import ProbeSummary, SystemSummary

_SMALL = 12
"""Matrices up to this many classes are drawn twice: in clips and in shares."""


def layer_figure(results: Sequence[ProbeSummary], figure_id: str) -> Figure | None:
    """Draw the validation score of each layer, of all models and baselines on one picture.

    A system with one layer is a level line.
    """
    curves = list(_curves(results))
    if not any(len(points) > 1 for _, points, _ in curves):
        return None
    xs = [x for _, points, _ in curves for x, *_ in points]
    ends = (min(xs), max(xs))
    series, rows = [], []
    for style, (label, points, _) in enumerate(curves):
        unit = results[0].unit
        if len(points) == 1:
            value = points[0][1]
            series.append(Series(label, ends, (value, value), style=style))
            rows.append((f"{label}, its one layer", score(value, unit), "–"))
            continue
        x, y, low, high = (tuple(column) for column in zip(*points, strict=True))
        banded = low != high
        band = (low, high) if banded else ((), ())
        series.append(Series(label, x, y, *band, style=style, markers=True))
        rows += [
            (f"{label}, layer {number(a)}", score(b, unit), f"{score(c, unit)} to {score(d, unit)}" if banded else "–")
            for a, b, c, d in points
        ]
    marks = [Mark(x, y, f"layer {number(x)}") for _, points, chosen in curves for x, y, *_ in points if x in chosen]
    named = [
        f"{label} layer {' and '.join(number(layer) for layer in sorted(chosen))}"
        for label, _, chosen in curves
        if chosen
    ]
    if len(marks) > 1:
        marks = [Mark(one.x, one.y, "") for one in marks]
    layers = [mark.x for mark in marks]
    said = words.layer_words(layers, named, any(one.low for one in series), any(len(p) == 1 for _, p, _ in curves))
    better = better_words(results[0].higher_is_better)
    svg = line_chart(
        figure_id,
        f"{results[0].name}: validation score of each layer",
        f"{'; '.join(_best(label, points, results[0]) for label, points, _ in curves)}; {better}. {said}".strip(),
        series,
        x_label="layer (0 is the encoder's input)",
        marks=marks,
        whole_x=True,
        legend=len(results) > 1,
    )
    caption = words.layer_caption(results[0], said)
    table = make_table("Score of each layer", ("Layer", "Score", "Over seeds"), rows)
    return Figure(f"{figure_id}-box", svg, caption, table)


_Point = tuple[float, float, float, float]


def _curves(results: Sequence[ProbeSummary]) -> Iterator[tuple[str, list[_Point], set[float]]]:
    """Yield name, points (layer, value, lowest, highest) and chosen layers of each system, models first."""
    for label, system in systems_of(results):
        points = _layer_points(system)
        if points:
            yield label, points, _chosen(system) if system.system == "model" else set()


def systems_of(results: Sequence[ProbeSummary]) -> list[tuple[str, SystemSummary]]:
    """Return all systems of one probe's results with their names, models first; what is the same is there once."""
    found: dict[str, SystemSummary] = {}
    for result in results:
        for system in result.systems:
            found.setdefault(system.row if len(results) > 1 else system.label, system)
    kinds = list(dict.fromkeys(system.system for system in found.values()))
    return sorted(found.items(), key=lambda item: kinds.index(item[1].system))


def _chosen(system: SystemSummary) -> set[float]:
    layers = {one.layer for one in system.chosen} | {system.chosen_layer}
    return {float(layer) for layer in layers if layer is not None}


def _layer_points(system: SystemSummary) -> list[_Point]:
    found = []
    for row in system.layers:
        if defined(row.valid):
            low, high = (one if defined(one) else row.valid for one in (row.low, row.high))
            found.append((float(row.layer), row.valid, low, high))
    return sorted(found)


def _best(label: str, points: Sequence[_Point], result: ProbeSummary) -> str:
    pick = max if result.higher_is_better else min
    best = pick(points, key=lambda point: point[1])
    return f"{label}: best {score(best[1], result.unit)} at layer {number(best[0])}"


def grid_figure(result: ProbeSummary, figure_id: str) -> Figure | None:
    """Draw the validation score of every layer and learning rate."""
    grid = result.grid
    if not grid:
        return None
    written = [
        ["×" if value is None and gone else score(value, "points") if value is not None else "" for value, gone in row]
        for row in (zip(*pair, strict=True) for pair in zip(grid.valid, grid.diverged, strict=True))
    ]
    if not result.unit:
        written = [
            [number(value) if value is not None else words for value, words in zip(*pair, strict=True)]
            for pair in zip(grid.valid, written, strict=True)
        ]
    columns, rows = [str(one) for one in grid.layers], [f"{one:g}" for one in grid.lrs]
    chosen = "; ".join(f"layer {columns[column]} at rate {rows[row]}" for row, column in grid.chosen)
    svg, width = heat_map(
        figure_id,
        f"{result.title}: validation score by layer and learning rate",
        words.grid_words(len(rows), len(columns), chosen),
        columns,
        rows,
        grid.valid,
        written=written,
        marks=[(row, column) for row, column in grid.chosen],
        higher_is_better=result.higher_is_better,
        x_label="layer",
        y_label="learning rate",
    )
    table = make_table(
        "Validation score by learning rate and layer",
        ("Rate", *columns),
        [(row, *(cell or "–" for cell in line)) for row, line in zip(rows, written, strict=True)],
    )
    return Figure(
        f"{figure_id}-box", svg, words.grid_caption(result, grid), table, width=width * 1.05 if width > 348 else None
    )


def weight_figure(result: ProbeSummary, figure_id: str) -> Figure | None:
    """Draw the weights that the head learned for the layers."""
    weights = result.systems[0].layer_weights or ()
    values = [max(value, 0.0) for value in weights if defined(value)]
    if len(values) < 2 or len(values) != len(weights):
        return None
    labels = [str(layer) for layer in range(len(values))]
    caption = words.weights_caption(values)
    svg = bar_chart(figure_id, f"{result.title}: learned layer weights", caption, labels, values, "layer")
    table = make_table(
        "Learned layer weights", ("Layer", "Weight"), [(a, number(b)) for a, b in zip(labels, values, strict=True)]
    )
    return Figure(f"{figure_id}-box", svg, caption, table)


def history_figure(result: ProbeSummary, figure_id: str) -> Figure | None:
    """Draw the validation score while the head was trained."""
    rows = [(float(row.step), row.valid) for row in result.systems[0].history if defined(row.valid)]
    if len(rows) < 2:
        return None
    xs, ys = zip(*rows, strict=True)
    svg = line_chart(
        figure_id,
        f"{result.title}: validation score while the head was trained",
        words.history_words(xs, ys),
        [Series(metric_label(result.main_metric), xs, ys, markers=len(xs) < 30)],
        x_label="step of the head's training",
    )
    return Figure(f"{figure_id}-box", svg, words.history_caption(result))


def confusion_figures(result: ProbeSummary, figure_id: str) -> Iterator[Figure]:
    """Draw which class was answered for which: in clips, and for few classes in shares as well."""
    matrix = result.confusion
    if not matrix:
        return
    labels, counts = matrix.labels, matrix.counts
    small = len(labels) <= _SMALL
    for shares in (False, True) if small else (False,):
        title = f"{result.title}: answers by reference, {'in % of each row' if shares else 'in clips'}"
        name = f"{figure_id}-shares" if shares else figure_id
        svg, width = confusion_matrix(name, title, labels, counts, shares)
        wide = None if small and width <= 348 else max(width, 340) * 1.05
        yield Figure(
            f"{name}-box",
            svg,
            words.confusion_caption(shares),
            None if shares else _class_table(labels, counts),
            width=wide,
        )


def _class_table(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Table:
    """Write each class with its share of right answers and what it was taken for most often."""
    rows = []
    for index, label in enumerate(labels):
        total = sum(counts[index])
        wrong = [(number_, -other) for other, number_ in enumerate(counts[index]) if other != index and number_]
        most = max(wrong, default=None)
        said = f"{labels[-most[1]]} ({most[0]:,}, {score(100 * most[0] / total, '%')})" if most else "–"
        right = score(100 * counts[index][index] / total, "%") if total else "–"
        rows.append((label, f"{total:,}", f"{counts[index][index]:,}", right, said))
    head = ("Class", "Clips", "Right", "Share right", "Most often confused with")
    return make_table("Clips and right answers of each class", head, rows, text_columns=(4,))


def value_figures(result: ProbeSummary, figure_id: str) -> Iterator[Figure]:
    """Draw answers over references, one figure for each number asked for."""
    for place, one in enumerate(result.values):
        caption = words.values_caption(one)
        svg = scatter(f"{figure_id}-{place}", f"{result.title}: {one.name}", caption, one.points)
        yield Figure(f"{figure_id}-{place}-box", svg, caption)


def trial_figure(result: ProbeSummary, figure_id: str) -> Figure | None:
    """Draw the scores of same and different pairs."""
    trials = result.trials
    if not trials:
        return None
    caption, at = words.trials_caption(trials), words.equal_error_words(trials)
    svg = trial_histogram(
        figure_id,
        f"{result.title}: scores of pairs",
        caption,
        trials.edges,
        trials.same,
        trials.different,
        trials.threshold,
        at,
    )
    edges = trials.edges
    rows = [
        (f"{number(edges[index])} to {number(edges[index + 1])}", score(100 * same, "%"), score(100 * other, "%"))
        for index, (same, other) in enumerate(zip(trials.same, trials.different, strict=True))
    ]
    return Figure(f"{figure_id}-box", svg, caption, make_table("Pairs by score", ("Score", "Same", "Different"), rows))
