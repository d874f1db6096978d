"""How well each layer predicts an attribute of unseen speakers, and beside it the gaps in recognition.

Drawn from the rows ``representation`` and ``comparisons`` of a fairness report alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from audio_ssl.artifacts.fairness import GroupComparison
from audio_ssl.artifacts.fairness_report import AttributeProbe, FairnessReport, LayerScore
from audio_ssl.report.figures.lines import Mark, Series, line_chart
from audio_ssl.report.html import Block, Figure, Section, Table, TableColumn, tabulate
from audio_ssl.report.language import representation as words
from audio_ssl.report.language.fairness import plain_words
from audio_ssl.report.language.fairness_page import LAYERS
from audio_ssl.report.language.phrases import label_of
from audio_ssl.report.language.representation import UNIT, layer_name
from audio_ssl.report.numbers import MISSING, defined, interval, number, score, signed
from audio_ssl.report.pages import PlacedSection

_Layers = Sequence[LayerScore]
_MOST_GAPS = 6
_MOST_BASELINES = 5


class _NamedLayer(NamedTuple):
    """A row of a table."""

    name: str
    layer: LayerScore


def representation_section(report: FairnessReport) -> Section | None:
    """Show every probe of an attribute with its layers, and the gaps between the groups of that attribute."""
    model_of = {one.name: one.model_fingerprint for one in report.results}
    blocks = []
    for place, row in enumerate(report.representation):
        ours = row.model_fingerprint
        gaps = [
            one
            for one in report.comparisons
            if one.by == row.attribute
            and defined(one.difference)
            and not (ours and (theirs := model_of.get(one.result)) and ours != theirs)
        ]
        if _known(row.layers):
            blocks.append(_block(row, gaps, f"representation-{place}"))
    return Section("representation", LAYERS, tuple(blocks)) if blocks else None


def _known(layers: _Layers) -> list[LayerScore]:
    """Return the layers that have a value."""
    return [one for one in layers if defined(one.value)]


def _block(row: AttributeProbe, gaps: Sequence[GroupComparison], prefix: str) -> Block:
    compression = _compression_figure(row, f"{prefix}-bits")
    return Block(
        id=prefix,
        heading=f"{row.result or 'model'}: {row.attribute} in the layers",
        lead=words.lead(row, _known(row.layers), _baselines(row)),
        points=tuple(_gap_points(gaps)),
        warnings=(row.warning,) if row.warning else (),
        figures=(_figure(row, f"{prefix}-layers"), *((compression,) if compression else ())),
        tables=(_table(row), *_baseline_table(row)),
        beside=True,
    )


def _gap_points(gaps: Sequence[GroupComparison]) -> Iterator[str]:
    for one in gaps[:_MOST_GAPS]:
        yield f"{one.result}: {plain_words(one)}" if one.result else plain_words(one)
    if len(gaps) > _MOST_GAPS:
        yield words.more_gaps(len(gaps) - _MOST_GAPS)


def _baselines(row: AttributeProbe) -> list[tuple[str, list[LayerScore]]]:
    found = [(name, _known(layers)) for name, layers in row.baselines.items()]
    return [(name, layers) for name, layers in found[:_MOST_BASELINES] if layers]


def _figure(row: AttributeProbe, figure_id: str) -> Figure:
    layers = _known(row.layers)
    best = max(layers, key=lambda one: one.value)
    series = [_series("this model", layers, "value", "low", "high", 0)]
    controls = [one for one in layers if defined(one.control)]
    if controls:
        series.append(_series(words.CONTROL, controls, "control", "control_low", "control_high", 1))
    last = max(float(one.layer) for one in layers)
    for place, (name, theirs) in enumerate(_baselines(row)):
        series.append(_level(label_of(name), theirs, 2 + place, last))
    said = "; ".join(f"layer {layer_name(one)} {score(one.value, UNIT)}" for one in layers)
    svg = line_chart(
        figure_id, f"Prediction of {row.attribute} by layer", f"This model: {said}.", series,
        x_label="layer (0 is the encoder's input)", whole_x=True, legend=True,
        marks=[Mark(float(best.layer), best.value, score(best.value, UNIT))],
    )  # fmt: skip
    caption = words.layers_caption(row, bool(series[0].low), bool(controls and series[1].low))
    return Figure(f"{figure_id}-box", svg, caption)


def _series(label: str, layers: _Layers, key: str, low: str, high: str, style: int) -> Series:
    banded = bool(low) and not any(not defined(getattr(one, end)) for one in layers for end in (low, high))
    return Series(
        label,
        [float(one.layer) for one in layers],
        [getattr(one, key) for one in layers],
        [getattr(one, low) for one in layers] if banded else (),
        [getattr(one, high) for one in layers] if banded else (),
        style,
        markers=True,
    )


def _level(label: str, layers: _Layers, style: int, last: float) -> Series:
    """Draw a baseline of one layer as a level line under all of the model's."""
    one = _series(label, layers, "value", "", "", style)
    if len(layers) == 1:
        return Series(
            label, [0.0, last] if last else [0.0], list(one.y) * (2 if last else 1), style=style, markers=True
        )
    return one


def _compression_figure(row: AttributeProbe, figure_id: str) -> Figure | None:
    layers = [one for one in _known(row.layers) if defined(one.compression)]
    if len(layers) < 2:
        return None
    series = [_series("this model", layers, "compression", "", "", 0)]
    controls = [one for one in layers if defined(one.control_compression)]
    if controls:
        series.append(_series(words.CONTROL, controls, "control_compression", "", "", 1))
    said = "; ".join(f"layer {layer_name(one)} {number(one.compression)}" for one in layers)
    svg = line_chart(
        figure_id, f"Compression of {row.attribute} by layer", f"This model: {said}.", series,
        x_label="layer (0 is the encoder's input)", whole_x=True, legend=True,
    )  # fmt: skip
    return Figure(f"{figure_id}-box", svg, words.compression_caption(row.attribute))


def _table(row: AttributeProbe) -> Table:
    rows = [_NamedLayer(f"layer {layer_name(one)}", one) for one in _known(row.layers)]
    caption = f"Prediction of {row.attribute} by layer"
    return tabulate(caption, rows, _COLUMNS, notes=words.table_notes(row), sticky=True)


def _baseline_table(row: AttributeProbe) -> list[Table]:
    rows = [
        _NamedLayer(f"{label_of(name)}, layer {layer_name(one)}", one)
        for name, layers in _baselines(row)
        for one in layers
    ]
    return [tabulate("Baselines", rows, _COLUMNS, sticky=True, open_up_to=0)] if rows else []


def _compressed(one: LayerScore) -> str:
    control = "" if not defined(one.control_compression) else f" ({number(one.control_compression)})"
    return number(one.compression) + control


def _between(value: float, low: float, high: float) -> str:
    """Write a share with its two ends, where there are any."""
    ends = interval(low, high, UNIT)
    return score(value, UNIT) + (f" ({ends})" if ends != MISSING else "")


_COLUMNS: list[TableColumn[_NamedLayer]] = [
    TableColumn("Layer", lambda one: one.name),
    TableColumn(words.SCORE_HEAD, lambda one: _between(one.layer.value, one.layer.low, one.layer.high)),
    TableColumn(
        words.CONTROL_HEAD, lambda one: _between(one.layer.control, one.layer.control_low, one.layer.control_high)
    ),
    TableColumn("Selectivity", lambda one: signed(one.layer.selectivity, "points")),
    TableColumn(words.COMPRESSION_HEAD, lambda one: _compressed(one.layer)),
]

SECTIONS = (PlacedSection(FairnessReport, 80, representation_section),)
