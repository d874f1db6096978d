"""Segments as MIREX and mir_eval read them: start, end and label with tabs between; Audacity imports it as labels.

Chords, sections, phones or slots; of a transcript, its words. Times are seconds from the clip's start.
"""

from __future__ import annotations

from audio_ssl.artifacts.clip_predictions import ClipPrediction
from audio_ssl.probing.format import FormatTraits, inside, one_line

TRAITS = FormatTraits(".lab", ("segments", "words"))


def encode(prediction: ClipPrediction) -> bytes:
    """Return one line for each segment; an empty file where there is none."""
    labels = prediction.words if prediction.segments is None else prediction.segments
    found = inside(labels or (), prediction.seconds)
    return "".join(f"{one.start:.4f}\t{one.end:.4f}\t{one_line(one.label)}\n" for one in found).encode()
