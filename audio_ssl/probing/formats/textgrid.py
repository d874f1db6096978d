"""Words, characters and phones as a Praat TextGrid: a tier for each, with empty intervals where nothing is said."""

from __future__ import annotations

from collections.abc import Sequence

from audio_ssl.artifacts.clip_predictions import ClipPrediction, TimedLabel
from audio_ssl.probing.format import FormatTraits, inside, one_line

TRAITS = FormatTraits(".TextGrid", ("words", "segments"))


def encode(prediction: ClipPrediction) -> bytes:
    """Return the file in Praat's long form, as UTF-8; the tiers are called as the fields are, that of phones so."""
    own = prediction.task if prediction.words is None else "segments"
    fields = (("words", prediction.words), ("tokens", prediction.tokens), (own, prediction.segments))
    tiers = [(name, _filled(labels, prediction.seconds)) for name, labels in fields if labels is not None]
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {prediction.seconds}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, (name, intervals) in enumerate(tiers, 1):
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{name}"',
            "        xmin = 0",
            f"        xmax = {prediction.seconds}",
            f"        intervals: size = {len(intervals)}",
        ]
        for place, one in enumerate(intervals, 1):
            lines += [
                f"        intervals [{place}]:",
                f"            xmin = {one.start}",
                f"            xmax = {one.end}",
                f'            text = "{_quoted(one.label)}"',
            ]
    return ("\n".join(lines) + "\n").encode()


def _filled(labels: Sequence[TimedLabel], seconds: float) -> list[TimedLabel]:
    """Return intervals that touch each other from 0 to the clip's end."""
    found: list[TimedLabel] = []
    reached = 0.0
    for one in inside(labels, seconds):
        start = max(one.start, reached)
        if one.end <= start:
            continue
        if start > reached:
            found.append(TimedLabel(reached, start, ""))
        found.append(TimedLabel(start, one.end, one.label))
        reached = one.end
    if reached < seconds:
        found.append(TimedLabel(reached, seconds, ""))
    return found


def _quoted(text: str) -> str:
    return one_line(text).replace('"', '""')
