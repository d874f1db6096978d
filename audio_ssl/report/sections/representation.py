"""How well each layer tells an attribute of unseen speakers, and beside it the gaps in recognition.

Drawn from the rows ``representation`` and ``comparisons`` of a fairness report alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from audio_ssl.artifacts.fairness import GroupComparison
from audio_ssl.artifacts.fairness_report import AttributeProbe, FairnessReport, LayerScore
from audio_ssl.fairness.wording import short_people
from audio_ssl.report.figures.lines import Mark, Series, line_chart
from audio_ssl.report.html import Block, Figure, Section, Table, TableColumn, tabulate
from audio_ssl.report.language.fairness import plain_words
from audio_ssl.report.language.fairness_page import LAYERS
from audio_ssl.report.numbers import MISSING, count, defined, finite, interval, number, score, signed
from audio_ssl.report.pages import PlacedSection

_Layers = Sequence[LayerScore]
_SPACE = "\u00a0"
_MOST_GAPS = 6
_MOST_BASELINES = 5
_UNIT = "%"
_LABELS = {
    "untrained": "untrained twin",
    "logmel": "log-mel spectrum",
    "cqt": "constant-Q spectrum",
    "librosa": "librosa features",
}
_CAUTION = (
    "It describes a representation and is not for telling the {attribute} of people. A high value is not itself a harm "
    "and a low one no proof of fairness; Attanasio et al. 2024 (EMNLP) found that gaps in recognition go with it."
)
_NOTE = (
    "A logistic regression on the mean frame of a clip, in folds that share no speaker; every recorded value counts "
    "alike, so a guess is right in {guess}. Shuffled: the values dealt anew among the speakers, mean and range of the "
    "shuffles. Selectivity: told minus shuffled, in points. Compression: how many times shorter the values are as an "
    "online code than without the features (Voita & Titov 2020); 1 is no shorter."
)


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
        lead=tuple(_lead(row)),
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
        yield f"{len(gaps) - _MOST_GAPS:,} gaps more stand with their scores."


def _layer_name(one: LayerScore) -> str:
    return one.layer if isinstance(one.layer, str) else number(one.layer)


def _ends(low: float, high: float) -> str:
    ends = interval(low, high, _UNIT)
    return "" if ends == MISSING else f" (95{_SPACE}% interval {ends})"


def _lead(row: AttributeProbe) -> Iterator[str]:
    attribute, layers = row.attribute, _known(row.layers)
    best = max(layers, key=lambda one: one.value)
    where = f"Layer {_layer_name(best)}" if len(layers) > 1 else "The only layer"
    text = f"{where} tells the recorded {attribute} in {score(best.value, _UNIT)} of unseen speakers' clips"
    text += _ends(best.low, best.high)
    if defined(best.control):
        text += f"; with the values shuffled over speakers, in {score(best.control, _UNIT)}"
    yield f"{text}."
    if defined(row.value) and len(layers) > 1:
        yield (
            f"That is the best of {len(layers)} layers, so a little lucky: where other speakers choose the layer, it "
            f"is {score(row.value, _UNIT)}{_ends(row.low, row.high)}."
        )
    found = [
        f"{_LABELS.get(name, name)} {score(max(one.value for one in theirs), _UNIT)}"
        for name, theirs in _baselines(row)
    ]
    if found:
        yield f"Beside it, at best: {', '.join(found)}."
    yield _CAUTION.format(attribute=attribute)


def _baselines(row: AttributeProbe) -> list[tuple[str, list[LayerScore]]]:
    found = [(name, _known(layers)) for name, layers in row.baselines.items()]
    return [(name, layers) for name, layers in found[:_MOST_BASELINES] if layers]


def _figure(row: AttributeProbe, figure_id: str) -> Figure:
    attribute, layers = row.attribute, _known(row.layers)
    best = max(layers, key=lambda one: one.value)
    series = [_series("this model", layers, "value", "low", "high", 0)]
    controls = [one for one in layers if defined(one.control)]
    if controls:
        series.append(_series("values shuffled over speakers", controls, "control", "control_low", "control_high", 1))
    last = max(float(one.layer) for one in layers)
    for place, (name, theirs) in enumerate(_baselines(row)):
        series.append(_level(_LABELS.get(name, name), theirs, 2 + place, last))
    said = "; ".join(f"layer {_layer_name(one)} {score(one.value, _UNIT)}" for one in layers)
    svg = line_chart(
        figure_id, f"How well each layer tells {attribute}", f"This model: {said}.", series,
        x_label="layer (0 is the encoder's input)", whole_x=True, legend=True,
        marks=[Mark(float(best.layer), best.value, score(best.value, _UNIT))],
    )  # fmt: skip
    bands = []
    if series[0].low:
        bands.append("the 95 % interval over speakers")
    if controls and series[1].low:
        bands.append("the range of the shuffles")
    caption = (
        f"Share of clips of unseen speakers whose {attribute} the probe predicts correctly, in %, "
        "every value counted alike."
    )
    caption += f" Bands: {' and '.join(bands)}." if bands else ""
    caption += f" Without the features a guess is right in {_guess(row)}."
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
        series.append(_series("values shuffled over speakers", controls, "control_compression", "", "", 1))
    said = "; ".join(f"layer {_layer_name(one)} {number(one.compression)}" for one in layers)
    svg = line_chart(
        figure_id, f"Compression of {row.attribute} by layer", f"This model: {said}.", series,
        x_label="layer (0 is the encoder's input)", whole_x=True, legend=True,
    )  # fmt: skip
    caption = (
        f"How many times shorter the {row.attribute} of all clips can be sent with the features than without; "
        "1 is no shorter. It also counts how few speakers suffice to learn it."
    )
    return Figure(f"{figure_id}-box", svg, caption)


def _table(row: AttributeProbe) -> Table:
    attribute = row.attribute
    groups = [
        f"{short_people(attribute, str(one.get('group')))} {count(int(speakers), 'speaker')}, "
        f"{count(int(clips), 'clip')}"
        for one in row.groups or ()
        if (speakers := finite(one.get("speakers"))) is not None and (clips := finite(one.get("clips"))) is not None
    ]
    notes = [_NOTE.format(guess=_guess(row))]
    if groups:
        notes.append(f"Speakers: {'; '.join(groups)}.")
    if defined(row.majority_accuracy):
        notes.append(f"The most frequent value is that of {score(row.majority_accuracy, _UNIT)} of the clips.")
    if row.excluded:
        notes.append(
            f"{count(row.excluded, 'clip')} left out, such as those without a recorded value; scores.json names them."
        )
    rows = [_NamedLayer(f"layer {_layer_name(one)}", one) for one in _known(row.layers)]
    return tabulate(f"What each layer tells of {attribute}", rows, _COLUMNS, notes=notes, sticky=True)


def _baseline_table(row: AttributeProbe) -> list[Table]:
    rows = [
        _NamedLayer(f"{_LABELS.get(name, name)}, layer {_layer_name(one)}", one)
        for name, layers in _baselines(row)
        for one in layers
    ]
    return [tabulate("The same of the baselines", rows, _COLUMNS, sticky=True, open_up_to=0)] if rows else []


def _compressed(one: LayerScore) -> str:
    shuffled = "" if not defined(one.control_compression) else f" ({number(one.control_compression)})"
    return number(one.compression) + shuffled


def _between(value: float, low: float, high: float) -> str:
    """Write a share with its two ends, where there are any."""
    ends = interval(low, high, _UNIT)
    return score(value, _UNIT) + (f" ({ends})" if ends != MISSING else "")


def _guess(row: AttributeProbe) -> str:
    return "half of them or fewer" if not defined(row.majority_uar) else score(row.majority_uar, _UNIT)


_COLUMNS: list[TableColumn[_NamedLayer]] = [
    TableColumn("Layer", lambda one: one.name),
    TableColumn("Told (95 % interval)", lambda one: _between(one.layer.value, one.layer.low, one.layer.high)),
    TableColumn(
        "Shuffled (range)", lambda one: _between(one.layer.control, one.layer.control_low, one.layer.control_high)
    ),
    TableColumn("Selectivity", lambda one: signed(one.layer.selectivity, "points")),
    TableColumn("Compression (shuffled)", lambda one: _compressed(one.layer)),
]

SECTIONS = (PlacedSection(FairnessReport, 80, representation_section),)
