"""JAMS, the JSON of music research (Humphrey et al. 2014): one annotation, in the namespace that the answer is of.

Chords are ``chord``, a key ``key_mode``, beats ``beat``, notes ``note_midi``, words ``lyrics``, tags and classes
``tag_open``, other segments ``segment_open``; valence and arousal ``mood_thayer``, other numbers and vectors
``vector``. The tests read the files with the package jams, which checks them by its schema; it is not needed to write.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from audio_ssl.artifacts.clip_predictions import ClipPrediction, TimedLabel
from audio_ssl.base.documents import JsonObject
from audio_ssl.base.text import readable_id
from audio_ssl.probing.format import FormatTraits, inside

TRAITS = FormatTraits(".jams")

_VERSION = "0.3.5"
"""Of the schema."""

_CHORDS, _KEY = "chords", "key"
"""Tasks whose labels have a namespace of their own."""


def encode(prediction: ClipPrediction) -> bytes:
    """Return the file; confidences are the probabilities of the record."""
    namespace, data, sandbox = _annotation(prediction)
    seconds = prediction.seconds
    curator = {"name": "", "email": ""}
    found = {
        "annotations": [
            {
                "annotation_metadata": {
                    "curator": curator,
                    "annotator": {"task": prediction.task},
                    "version": "",
                    "corpus": "",
                    "annotation_tools": "audio_ssl",
                    "annotation_rules": "",
                    "validation": "",
                    "data_source": "predicted",
                },
                "namespace": namespace,
                "data": data,
                "sandbox": sandbox,
                "time": 0.0,
                "duration": seconds,
            }
        ],
        "file_metadata": {
            "title": readable_id(prediction.id),
            "artist": "",
            "release": "",
            "duration": seconds,
            "identifiers": {},
            "jams_version": _VERSION,
        },
        "sandbox": {"path": readable_id(prediction.path), "start": prediction.start},
    }
    return (json.dumps(found, ensure_ascii=False, indent=1) + "\n").encode()


def _annotation(one: ClipPrediction) -> tuple[str, list[JsonObject], JsonObject]:
    """Return the namespace, the observations, and what the namespace has no place for."""
    if one.segments is not None:
        return "chord" if one.task == _CHORDS else "segment_open", _spans(one.segments, one.seconds), {}
    if one.beats is not None:
        return "beat", [_row(beat.time, 0.0, beat.number, beat.probability) for beat in one.beats], {}
    if one.notes is not None:
        rows = (_row(note.start, note.end - note.start, note.pitch, note.probability) for note in one.notes)
        return "note_midi", list(rows), {}
    if one.classes is not None:
        best = one.classes[0]
        if one.task == _KEY:
            return "key_mode", [_row(0.0, one.seconds, best.name.replace(" ", ":"), best.probability)], {}
        return "tag_open", [_row(0.0, one.seconds, readable_id(best.name), best.probability)], {}
    if one.tags is not None:
        found = (each for each in one.tags if each.probability > 0.5)
        return "tag_open", [_row(0.0, one.seconds, readable_id(tag.name), tag.probability) for tag in found], {}
    if one.values is not None:
        values = {each.name: each.value for each in one.values}
        if {"valence", "arousal"} <= values.keys():
            pair = [values["valence"], values["arousal"]]
            return "mood_thayer", [_row(0.0, one.seconds, pair, None)], {"values": values}
        return "vector", [_row(0.0, one.seconds, list(values.values()), None)], {"values": values}
    if one.embedding is not None:
        return "vector", [_row(0.0, one.seconds, list(one.embedding), None)], {}
    if one.words is not None:
        return "lyrics", _spans(one.words, one.seconds), {}
    return "lyrics", [_row(0.0, one.seconds, one.text, None)] if one.text else [], {}


def _spans(labels: Iterable[TimedLabel], seconds: float) -> list[JsonObject]:
    return [_row(s.start, s.end - s.start, readable_id(s.label), s.probability) for s in inside(labels, seconds)]


def _row(time: float, duration: float, value: object, confidence: float | None) -> JsonObject:
    return {"time": time, "duration": round(duration, 6), "value": value, "confidence": confidence}
