"""What a trained head says of one clip: texts, classes, tags, values, segments, beats, notes or a vector.

``predictions.jsonl`` has one `ClipPrediction` a line. A field that a task does not answer is left out of the file and
None here; an empty list is an answer: no notes were found. Times are seconds from the clip's start; what sounds in the
last frame may end some milliseconds after the clip. Other formats (subtitles, MIDI, JAMS) are made from these records
by the parts of `audio_ssl/probing/formats`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from audio_ssl.artifacts.records import absent, from_json
from audio_ssl.base.documents import JsonObject, iterate_json_lines

ANSWER_FIELDS = ("text", "words", "tokens", "classes", "tags", "values", "segments", "beats", "notes", "embedding")
"""Fields of `ClipPrediction` of which each task fills some."""

PREDICTED_FILE = "predictions.jsonl"


@dataclass(frozen=True)
class NamedProbability:
    """A class or tag and its probability."""

    name: str
    probability: float
    """Between 0 and 1. Of classes these add up to 1; each tag has a probability of its own."""


@dataclass(frozen=True)
class NamedNumber:
    """A number that was predicted, such as valence, in the unit of the training manifest."""

    name: str
    value: float


@dataclass(frozen=True)
class TimedLabel:
    """A word, token, phone, chord, section or slot with its time."""

    start: float
    end: float
    label: str
    probability: float | None = absent(None)
    """Mean probability of the label over its frames, to four decimals; None where it is not known."""

    text: str | None = absent(None)
    """What is said in a slot, whose label is its kind."""


@dataclass(frozen=True)
class BeatTime:
    """A beat."""

    time: float
    number: int | None = absent(None)
    """Number in the bar, from 1, a downbeat; None where it is not known."""

    probability: float | None = absent(None)
    """In its frame, to four decimals."""


@dataclass(frozen=True)
class NoteEvent:
    """A note."""

    start: float
    end: float
    pitch: int
    """MIDI number: 69 is A at 440 Hz."""

    velocity: int | None = absent(None)
    """MIDI velocity, 1 to 127; None where it is not predicted."""

    probability: float | None = absent(None)
    """Mean probability over its frames, to four decimals."""


@dataclass(frozen=True, kw_only=True)
class ClipPrediction:
    """What a head says of one clip."""

    id: str
    """As in the manifest; of a folder, the file's relative path."""

    path: str
    """The audio file."""

    start: float = 0.0
    """Start of the clip in the file, in seconds."""

    seconds: float
    """Length of the clip."""

    sample_rate: int
    """Of the file, in Hz."""

    task: str
    """asr, st, key, tagging, chords …"""

    text: str | None = absent(None)
    """Transcript, translation, phones with spaces between, or a transcript with marked slots."""

    words: tuple[TimedLabel, ...] | None = absent(None)
    """Words of `text` with their times; None where the head tells no times."""

    tokens: tuple[TimedLabel, ...] | None = absent(None)
    """Characters or pieces of `text` with their times, without spaces; left out of clips of more than an hour."""

    classes: tuple[NamedProbability, ...] | None = absent(None)
    """Every class, the most probable first."""

    tags: tuple[NamedProbability, ...] | None = absent(None)
    """Every tag, the most probable first; a tag is on the clip where its probability is above 0.5."""

    values: tuple[NamedNumber, ...] | None = absent(None)

    segments: tuple[TimedLabel, ...] | None = absent(None)
    """Phones, chords, sections or slots, by start."""

    beats: tuple[BeatTime, ...] | None = absent(None)
    notes: tuple[NoteEvent, ...] | None = absent(None)
    """By start."""

    embedding: tuple[float, ...] | None = absent(None)
    """Vector whose cosine to another says whether two clips are of the same speaker."""

    reference: str | list[str] | list[float] | None = absent(None)
    """The right answer, where the manifest has one; no prediction needs it."""

    manifest: JsonObject = absent({})
    """The other columns of the clip's row of the manifest, by name."""

    more: JsonObject = field(default_factory=dict)

    @property
    def answered(self) -> tuple[str, ...]:
        """Return the names of the fields that hold an answer."""
        return tuple(name for name in ANSWER_FIELDS if getattr(self, name) is not None)

    @property
    def label(self) -> str | None:
        """Return the name of the most probable class, or None."""
        return self.classes[0].name if self.classes else None


def iterate_clip_predictions(path: Path) -> Iterator[ClipPrediction]:
    """Yield the predictions of a file of JSON Lines, one at a time.

    Raises
    ------
    UserError
        If the file cannot be read, or a line is no prediction; the text has the line's number.
    """
    for number, row in iterate_json_lines(path):
        yield from_json(ClipPrediction, row, f"{path}:{number}", "delete the file, then predict again")
