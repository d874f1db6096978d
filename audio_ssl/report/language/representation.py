"""Sentences about how well the layers of a model predict an attribute of unseen speakers."""

from __future__ import annotations

from collections.abc import Sequence

from audio_ssl.artifacts.fairness_report import AttributeProbe, LayerScore
from audio_ssl.fairness.wording import short_people
from audio_ssl.report.language.phrases import label_of
from audio_ssl.report.numbers import HARD_SPACE, MISSING, count, defined, interval, number, score

UNIT = "%"

CONTROL = "control (permuted values)"
SCORE_HEAD, CONTROL_HEAD = "Balanced accuracy (95 % interval)", "Control (range)"
COMPRESSION_HEAD = "Compression (control)"

_CAUTION = (
    "This probe describes the representation. Do not use it to infer a person's {attribute}. A high value does not "
    "show harm, and a low value does not show fairness. Attanasio et al. (EMNLP 2024) found that gaps in recognition "
    "correlate with such probes."
)
_NOTE = (
    "Balanced accuracy of a logistic regression on the mean frame of each clip, in folds that share no speaker. Always "
    "predicting the same value scores {guess}. Control: the same probe with the values permuted over speakers (mean "
    "and range). Selectivity: balanced accuracy minus control, in points. Compression: how many times shorter an "
    "online code of the values is with the features than without them (Voita & Titov 2020); 1 means no shorter."
)


def layer_name(one: LayerScore) -> str:
    """Return the number or the name of a layer."""
    return one.layer if isinstance(one.layer, str) else number(one.layer)


def lead(
    row: AttributeProbe, layers: Sequence[LayerScore], baselines: Sequence[tuple[str, Sequence[LayerScore]]]
) -> tuple[str, ...]:
    """Say how well the best layer predicts the attribute, and what that does not mean.

    Parameters
    ----------
    row
        The probe.
    layers
        Those of the model that have a score.
    baselines
        Names, and the layers that have a score.
    """
    best = max(layers, key=lambda one: one.value)
    where = f"Layer {layer_name(best)}" if len(layers) > 1 else "The only layer"
    said = [
        f"{where} predicts the recorded {row.attribute} of unseen speakers with a balanced accuracy of "
        f"{score(best.value, UNIT)}{_ends(best.low, best.high)}."
    ]
    if defined(best.control):
        said.append(f"With the values permuted over speakers it is {score(best.control, UNIT)}.")
    if defined(row.value) and len(layers) > 1:
        said.append(
            f"The best of {len(layers)} layers is an optimistic choice. With the layer selected on other speakers, the "
            f"balanced accuracy is {score(row.value, UNIT)}{_ends(row.low, row.high)}."
        )
    found = [f"{label_of(name)} {score(max(one.value for one in theirs), UNIT)}" for name, theirs in baselines]
    if found:
        said.append(f"Best layers of the baselines: {', '.join(found)}.")
    return (" ".join(said), _CAUTION.format(attribute=row.attribute))


def more_gaps(left: int) -> str:
    """Count the gaps that are not said here."""
    return f"{left:,} more gaps are listed with their scores."


def layers_caption(row: AttributeProbe, interval_drawn: bool, range_drawn: bool) -> str:
    """Say what the curve over layers shows: perhaps an interval, and the range of the control."""
    bands = [
        *(["95 % confidence interval over speakers"] if interval_drawn else []),
        *(["range of the control"] if range_drawn else []),
    ]
    text = f"Balanced accuracy in predicting the {row.attribute} of unseen speakers, in %."
    text += f" Bands: {', '.join(bands)}." if bands else ""
    return f"{text} Without the features it is {guess(row)}."


def compression_caption(attribute: str) -> str:
    """Say what compression is."""
    return (
        f"How many times shorter a code for the {attribute} of all clips is with the features than without them; 1 "
        "means no shorter. It is higher if few speakers suffice to learn the values."
    )


def table_notes(row: AttributeProbe) -> tuple[str, ...]:
    """Say how the numbers of the table are made, and of whom they are."""
    notes = [_NOTE.format(guess=guess(row))]
    groups = [
        f"{short_people(row.attribute, one.group)} {count(one.speakers, 'speaker')}, {count(one.clips, 'clip')}"
        for one in row.groups or ()
    ]
    if groups:
        notes.append(f"Speakers: {'; '.join(groups)}.")
    if defined(row.majority_accuracy):
        notes.append(f"The most frequent value is recorded for {score(row.majority_accuracy, UNIT)} of the clips.")
    if row.excluded:
        notes.append(
            f"{count(row.excluded, 'clip')} excluded, for example because no value is recorded; scores.json names them."
        )
    return tuple(notes)


def guess(row: AttributeProbe) -> str:
    """Return the balanced accuracy of always predicting the same value."""
    return score(row.majority_uar, UNIT) if defined(row.majority_uar) else f"50{HARD_SPACE}% or less"


def _ends(low: float, high: float) -> str:
    ends = interval(low, high, UNIT)
    return "" if ends == MISSING else f" (95{HARD_SPACE}% confidence interval {ends})"
