"""Each probe in detail: its test set, every score, layer by layer, confusions, single clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audio_ssl.report.answers import word_changes
from audio_ssl.report.figures.grids import bar_chart, confusion_matrix
from audio_ssl.report.figures.lines import Mark, Series, line_chart
from audio_ssl.report.html import Block, Figure, Section, Table, make_table
from audio_ssl.report.numbers import MISSING, count, duration, finite, interval, metric_label, number, score
from audio_ssl.report.sections.gains import direction


def probes_section(results: Sequence[Mapping[str, Any]]) -> Section:
    """Show every probe in detail."""
    return Section("probes", "Probe by probe", tuple(_block(result, index) for index, result in enumerate(results)))


def _block(result: Mapping[str, Any], index: int) -> Block:
    found = (
        _layer_figure(result, f"layers-{index}"),
        _weight_figure(result, f"weights-{index}"),
        _history_figure(result, f"history-{index}"),
        _confusion_figure(result, f"confusion-{index}"),
    )
    return Block(
        id=f"probe-{index}",
        heading=str(result["name"]),
        lead=_lead(result),
        figures=tuple(figure for figure in found if figure),
        tables=tuple(table for table in (_metric_table(result), _excluded_table(result)) if table),
        examples=tuple(_example(one) for one in result["examples"]),
    )


def _lead(result: Mapping[str, Any]) -> tuple[str, ...]:
    parts = [f"Model: {result['model']}." if result["model"] else ""]
    for split, found in result["counts"].items():
        if not isinstance(found, Mapping):
            continue
        words = [count(int(found["clips"]), "clip")] if finite(found.get("clips")) is not None else []
        words += [duration(found["seconds"])] if finite(found.get("seconds")) is not None else []
        words += [count(int(found["speakers"]), "speaker")] if found.get("speakers") else []
        parts.append(f"{str(split).capitalize()}: {', '.join(words)}.")
    signature = f"Score signature: {result['signature']}." if result["signature"] else ""
    return tuple(line for line in (" ".join(filter(None, parts)), signature) if line)


def _layer_points(system: Mapping[str, Any]) -> list[tuple[float, float]]:
    rows = ((finite(row.get("layer")), finite(row.get("valid"))) for row in system["layers"])
    return sorted((layer, value) for layer, value in rows if layer is not None and value is not None)


def _layer_figure(result: Mapping[str, Any], figure_id: str) -> Figure | None:
    series, rows = [], []
    for style, system in enumerate(result["systems"]):
        points = _layer_points(system)
        if len(points) > 1:
            xs, ys = zip(*points, strict=True)
            series.append(Series(system["label"], xs, ys, style=style, markers=True))
            rows += [(f"{system['label']}, layer {number(x)}", score(y, result["unit"])) for x, y in points]
    if not series:
        return None
    chosen = finite(result["systems"][0]["chosen_layer"])
    marks = [Mark(x, y, f"layer {number(x)}") for x, y in _layer_points(result["systems"][0]) if x == chosen]
    better = direction(result["higher_is_better"])
    said = f"The ring marks layer {number(chosen)}, chosen on the validation set." if marks else ""
    svg = line_chart(
        figure_id,
        f"{result['name']}: validation score of each layer",
        f"{len(series[0].x)} layers; {better}. {said}".strip(),
        series,
        x_label="layer (0 is the encoder's input)",
        marks=marks,
        whole_x=True,
    )
    caption = f"Validation {metric_label(result['main_metric'])} of each layer, {better}. {said}".strip()
    return Figure(f"{figure_id}-box", svg, caption, make_table("Score of each layer", ("Layer", "Score"), rows))


def _weight_figure(result: Mapping[str, Any], figure_id: str) -> Figure | None:
    weights = [finite(value) for value in result["systems"][0]["layer_weights"] or ()]
    values = [max(value, 0.0) for value in weights if value is not None]
    if len(values) < 2 or len(values) != len(weights):
        return None
    labels = [str(layer) for layer in range(len(values))]
    top = max(range(len(values)), key=lambda layer: values[layer])
    words = f"Weight the probe's head learned for each layer; the largest, {number(values[top])}, is layer {top}'s."
    svg = bar_chart(figure_id, f"{result['name']}: learned layer weights", words, labels, values, "layer")
    table = make_table(
        "Learned layer weights", ("Layer", "Weight"), [(a, number(b)) for a, b in zip(labels, values, strict=True)]
    )
    return Figure(f"{figure_id}-box", svg, words, table)


def _history_figure(result: Mapping[str, Any], figure_id: str) -> Figure | None:
    rows = [
        (step, value)
        for row in result["systems"][0]["history"]
        if (step := finite(row.get("step"))) is not None and (value := finite(row.get("valid"))) is not None
    ]
    if len(rows) < 2:
        return None
    xs, ys = zip(*rows, strict=True)
    svg = line_chart(
        figure_id,
        f"{result['name']}: validation score while the head was trained",
        f"From {number(ys[0])} at step {number(xs[0])} to {number(ys[-1])} at step {number(xs[-1])}.",
        [Series(metric_label(result["main_metric"]), xs, ys, markers=len(xs) < 30)],
        x_label="step of the head's training",
    )
    caption = f"Validation {metric_label(result['main_metric'])} while the head was trained."
    return Figure(f"{figure_id}-box", svg, caption)


def _confusion_figure(result: Mapping[str, Any], figure_id: str) -> Figure | None:
    matrix = result["confusion"]
    if not matrix:
        return None
    svg, width = confusion_matrix(
        figure_id, f"{result['name']}: answers by reference", matrix["labels"], matrix["counts"]
    )
    caption = "Which class was answered for which, in clips; each row is shaded by its own total."
    return Figure(f"{figure_id}-box", svg, caption, width=max(width, 340) * 1.05)


def _metric_table(result: Mapping[str, Any]) -> Table:
    rows = []
    for name, metric in result["systems"][0]["metrics"].items():
        cells = [_score_cell(system["metrics"].get(name) or {}) for system in result["systems"]]
        rows.append((metric_label(name), direction(bool(metric.get("higher_is_better", True))), *cells))
    head = ("Score", "Direction", *(str(system["label"]).capitalize() for system in result["systems"]))
    return make_table("Every score on the test set, with its 95 % interval", head, rows, text_columns=(1,))


def _score_cell(metric: Mapping[str, Any]) -> str:
    unit = metric.get("unit") or ""
    value = score(metric.get("value"), unit)
    ends = interval(metric.get("low"), metric.get("high"), unit)
    return value if ends == MISSING else f"{value} ({ends})"


def _excluded_table(result: Mapping[str, Any]) -> Table | None:
    rows: list[tuple[str, str]] = []
    for one in result["excluded"]:
        if isinstance(one, Mapping):
            name = next((str(one[key]) for key in ("id", "name", "class", "path") if one.get(key)), "–")
            rows.append((name, str(one.get("reason") or "–")))
        else:
            rows.append((str(one), "–"))
    rows += [(f"{one['count']:,} in errors.jsonl", one["reason"]) for one in result["errors"]["reasons"]]
    if not rows:
        return None
    shown, left = rows[:12], len(rows) - 12
    notes = (f"{left:,} more are in the JSON beside this page.",) if left > 0 else ()
    return make_table(f"Left out ({len(rows):,})", ("What", "Reason"), shown, text_columns=(1,), notes=notes)


def _example(one: Mapping[str, Any]) -> dict[str, Any]:
    about = ", ".join(str(one[key]) for key in ("speaker", "gender", "language") if one.get(key))
    return {
        "which": one["which"],
        "id": one["id"],
        "about": about,
        "score": score(one["score"], one["unit"]),
        "changes": word_changes(one["reference"], one["hypothesis"]),
    }
