"""The text of a clip alone, on one line: a transcript, a translation, or phones with spaces between."""

from __future__ import annotations

from audio_ssl.artifacts.clip_predictions import ClipPrediction
from audio_ssl.probing.format import FormatTraits, one_line

TRAITS = FormatTraits(".txt", ("text",))


def encode(prediction: ClipPrediction) -> bytes:
    """Return the text with a line break."""
    return f"{one_line(prediction.text or '')}\n".encode()
