"""How well each layer tells an attribute of unseen speakers, and beside it the gaps in recognition.

Drawn from the rows ``representation`` and ``comparisons`` of the JSON of the fairness stage alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from audio_ssl.fairness.wording import short_people
from audio_ssl.report.figures.lines import Mark, Series, line_chart
from audio_ssl.report.html import Block, Figure, Table, make_table
from audio_ssl.report.language.fairness import plain_words
from audio_ssl.report.numbers import MISSING, count, finite, interval, number, score, signed

_Row = Mapping[str, Any]
_Layers = Sequence[Mapping[str, Any]]
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


def representation_blocks(rows: Sequence[_Row], comparisons: Sequence[_Row]) -> tuple[Block, ...]:
    """Show every row with its layers, and the gaps between the groups of the same attribute.

    Parameters
    ----------
    rows
        ``representation`` of the report's JSON.
    comparisons
        Of the same report. Those that name another ``model_fingerprint`` than the row are left out.
    """
    return tuple(_block(row, comparisons, f"representation-{place}") for place, row in enumerate(rows) if _known(row))


def _known(row: _Row) -> list[Mapping[str, Any]]:
    """Return the layers that have a value."""
    return [one for one in row.get("layers") or () if finite(one.get("value")) is not None]


def _block(row: _Row, comparisons: Sequence[_Row], prefix: str) -> Block:
    attribute = str(row["attribute"])
    gaps = [
        one
        for one in comparisons
        if str(one.get("by")) == attribute and finite(one.get("difference")) is not None and _same_model(row, one)
    ]
    compression = _compression_figure(row, f"{prefix}-bits")
    tables = [_table(row), _baseline_table(row)]
    return Block(
        id=prefix,
        heading=f"{row.get('result') or 'model'}: {attribute} in the layers",
        lead=tuple(_lead(row)),
        points=tuple(_gap_points(gaps)),
        warnings=(str(row["warning"]),) if row.get("warning") else (),
        figures=(_figure(row, f"{prefix}-layers"), *((compression,) if compression else ())),
        tables=tuple(table for table in tables if table),
        beside=True,
    )


def _same_model(row: _Row, comparison: _Row) -> bool:
    ours, theirs = row.get("model_fingerprint"), comparison.get("model_fingerprint")
    return not (ours and theirs) or ours == theirs


def _gap_points(gaps: Sequence[_Row]) -> Iterator[str]:
    for one in gaps[:_MOST_GAPS]:
        yield f"{one['result']}: {plain_words(one)}" if one.get("result") else plain_words(one)
    if len(gaps) > _MOST_GAPS:
        yield f"{len(gaps) - _MOST_GAPS:,} gaps more stand with their scores."


def _lead(row: _Row) -> Iterator[str]:
    attribute, layers = str(row["attribute"]), _known(row)
    best = max(layers, key=lambda one: float(one["value"]))
    where = f"Layer {number(best['layer'])}" if len(layers) > 1 else "The only layer"
    ends = interval(best.get("low"), best.get("high"), _UNIT)
    text = f"{where} tells the recorded {attribute} in {score(best['value'], _UNIT)} of unseen speakers' clips"
    text += f" (95{_SPACE}% interval {ends})" if ends != MISSING else ""
    if finite(best.get("control")) is not None:
        text += f"; with the values shuffled over speakers, in {score(best['control'], _UNIT)}"
    yield f"{text}."
    if finite(row.get("value")) is not None and len(layers) > 1:
        ends = interval(row.get("low"), row.get("high"), _UNIT)
        between = f" (95{_SPACE}% interval {ends})" if ends != MISSING else ""
        yield (
            f"That is the best of {len(layers)} layers, so a little lucky: where other speakers choose the layer, it "
            f"is {score(row['value'], _UNIT)}{between}."
        )
    found = [f"{label} {score(max(values), _UNIT)}" for label, values in _best_of_baselines(row) if values]
    if found:
        yield f"Beside it, at best: {', '.join(found)}."
    yield _CAUTION.format(attribute=attribute)


def _best_of_baselines(row: _Row) -> Iterator[tuple[str, list[float]]]:
    for name, layers in _baselines(row):
        yield _LABELS.get(name, name), [float(one["value"]) for one in layers]


def _baselines(row: _Row) -> Sequence[tuple[str, _Layers]]:
    found = row.get("baselines") or {}
    return [(str(name), _known({"layers": layers})) for name, layers in found.items()][:_MOST_BASELINES]


def _figure(row: _Row, figure_id: str) -> Figure:
    attribute, layers = str(row["attribute"]), _known(row)
    best = max(layers, key=lambda one: float(one["value"]))
    series = [_series("this model", layers, "value", "low", "high", 0)]
    controls = [one for one in layers if finite(one.get("control")) is not None]
    if controls:
        series.append(_series("values shuffled over speakers", controls, "control", "control_low", "control_high", 1))
    last = max(float(one["layer"]) for one in layers)
    for place, (name, theirs) in enumerate(_baselines(row)):
        if theirs:
            series.append(_level(_LABELS.get(name, name), theirs, 2 + place, last))
    said = "; ".join(f"layer {number(one['layer'])} {score(one['value'], _UNIT)}" for one in layers)
    svg = line_chart(
        figure_id, f"How well each layer tells {attribute}", f"This model: {said}.", series,
        x_label="layer (0 is the encoder's input)", whole_x=True, legend=True,
        marks=[Mark(float(best["layer"]), float(best["value"]), score(best["value"], _UNIT))],
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
    banded = all(finite(one.get(end)) is not None for one in layers for end in (low, high))
    return Series(
        label,
        [float(one["layer"]) for one in layers],
        [float(one[key]) for one in layers],
        [float(one[low]) for one in layers] if banded else (),
        [float(one[high]) for one in layers] if banded else (),
        style,
        markers=True,
    )


def _level(label: str, layers: _Layers, style: int, last: float) -> Series:
    """Draw a baseline of one layer as a level line under all of the model's."""
    one = _series(label, layers, "value", "value", "value", style)
    if len(layers) == 1:
        return Series(
            label, [0.0, last] if last else [0.0], list(one.y) * (2 if last else 1), style=style, markers=True
        )
    return Series(label, one.x, one.y, style=style, markers=True)


def _compression_figure(row: _Row, figure_id: str) -> Figure | None:
    layers = [one for one in _known(row) if finite(one.get("compression")) is not None]
    if len(layers) < 2:
        return None
    series = [_series("this model", layers, "compression", "", "", 0)]
    controls = [one for one in layers if finite(one.get("control_compression")) is not None]
    if controls:
        series.append(_series("values shuffled over speakers", controls, "control_compression", "", "", 1))
    said = "; ".join(f"layer {number(one['layer'])} {number(one['compression'])}" for one in layers)
    svg = line_chart(
        figure_id, f"Compression of {row['attribute']} by layer", f"This model: {said}.", series,
        x_label="layer (0 is the encoder's input)", whole_x=True, legend=True,
    )  # fmt: skip
    caption = (
        f"How many times shorter the {row['attribute']} of all clips can be sent with the features than without; "
        "1 is no shorter. It also counts how few speakers suffice to learn it."
    )
    return Figure(f"{figure_id}-box", svg, caption)


_HEAD = ("Told (95 % interval)", "Shuffled (range)", "Selectivity", "Compression (shuffled)")


def _table(row: _Row) -> Table:
    attribute = str(row["attribute"])
    cells = [(f"layer {number(one['layer'])}", *_cells(one)) for one in _known(row)]
    groups = [
        f"{short_people(attribute, str(one.get('group')))} {count(int(speakers), 'speaker')}, "
        f"{count(int(clips), 'clip')}"
        for one in row.get("groups") or ()
        if isinstance(one, Mapping)
        and (speakers := finite(one.get("speakers"))) is not None
        and (clips := finite(one.get("clips"))) is not None
    ]
    notes = [_NOTE.format(guess=_guess(row))]
    if groups:
        notes.append(f"Speakers: {'; '.join(groups)}.")
    majority = finite(row.get("majority_accuracy"))
    if majority is not None:
        notes.append(f"The most frequent value is that of {score(majority, _UNIT)} of the clips.")
    left = finite(row.get("excluded"))
    if left:
        notes.append(
            f"{count(int(left), 'clip')} left out, such as those without a recorded value; scores.json names them."
        )
    return make_table(f"What each layer tells of {attribute}", ("Layer", *_HEAD), cells, notes=notes, sticky=True)


def _baseline_table(row: _Row) -> Table | None:
    cells = [
        (f"{_LABELS.get(name, name)}, layer {number(one['layer'])}", *_cells(one))
        for name, layers in _baselines(row)
        for one in layers
    ]
    if not cells:
        return None
    return make_table("The same of the baselines", ("Layer", *_HEAD), cells, sticky=True, folded=True)


def _cells(one: Mapping[str, Any]) -> tuple[str, ...]:
    shuffled = finite(one.get("control_compression"))
    return (
        _between(one, "value", "low", "high"),
        _between(one, "control", "control_low", "control_high"),
        signed(one.get("selectivity"), "points"),
        number(one.get("compression")) + (f" ({number(shuffled)})" if shuffled is not None else ""),
    )


def _between(one: Mapping[str, Any], key: str, low: str, high: str) -> str:
    """Write a share with its two ends, where there are any."""
    ends = interval(one.get(low), one.get(high), _UNIT)
    return score(one.get(key), _UNIT) + (f" ({ends})" if ends != MISSING else "")


def _guess(row: _Row) -> str:
    guess = finite(row.get("majority_uar"))
    return f"{score(guess, _UNIT)}" if guess is not None else "half of them or fewer"
