"""The whole prediction of a clip as a JSON file; ``predictions.jsonl`` has the same records, one a line."""

from __future__ import annotations

import json

from audio_ssl.artifacts.clip_predictions import ClipPrediction
from audio_ssl.artifacts.records import to_json
from audio_ssl.base.text import readable_id
from audio_ssl.probing.format import FormatTraits

TRAITS = FormatTraits(".json")


def encode(prediction: ClipPrediction) -> bytes:
    """Return the record with its keys in the order of its fields; bytes of names that are not UTF-8 are escaped."""
    return (json.dumps(to_json(prediction, readable_id), ensure_ascii=False, indent=1) + "\n").encode()
