"""NIST's CTM of words or phones: file, channel, start, duration, word and confidence, as sclite and Kaldi read it.

A file stands for a clip, and is called by its id; times are seconds from the clip's start. A clip without words has no
line. sclite wants lines sorted by file, channel and time: clips come in the order of the predictions.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from audio_ssl.artifacts.clip_predictions import ClipPrediction
from audio_ssl.base.files import atomic_write
from audio_ssl.probing.format import FormatTraits, inside, one_word

TRAITS = FormatTraits(".ctm", ("words", "segments"), shared=True)

_COMMENT = ";"


def write(path: Path, predictions: Iterable[ClipPrediction]) -> None:
    """Write the lines of all clips; the channel is 1, as sounds are mixed down to one."""
    with atomic_write(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for prediction in predictions:
            file.write(lines(prediction))


def lines(prediction: ClipPrediction) -> str:
    """Return the lines of a clip; the confidence is left out where no probability is known."""
    name = one_word(prediction.id)
    # A line that begins with two semicolons is a comment.
    name = f"%3B{name[1:]}" if name.startswith(_COMMENT) else name
    found = []
    labels = prediction.segments if prediction.words is None else prediction.words
    for one in inside(labels or (), prediction.seconds):
        # Start and duration add up to the end in milliseconds, so that rounding makes no words overlap.
        start, end = round(1000 * one.start), round(1000 * one.end)
        said = "" if one.probability is None else f" {one.probability:.4f}"
        duration = max(end - start, 1) / 1000
        found.append(f"{name} 1 {start / 1000:.3f} {duration:.3f} {one_word(one.label)}{said}\n")
    return "".join(found)
