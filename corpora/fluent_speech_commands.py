"""Fluent Speech Commands: English commands to a voice assistant, each with its intent.

30 043 recordings of 248 phrasings by 97 speakers, 16 kHz; 31 intents of an action, an object and a location (Lugosch et
al. 2019). Get it from https://fluent.ai/fluent-speech-commands-a-dataset-for-spoken-language-understanding-research/.

Layout below the root, which may be the folder `fluent_speech_commands_dataset` or the one that holds it::

    data/{train,valid,test}_data.csv    columns path, speakerId, transcription, action, object, location
    data/speaker_demographics.csv       columns speakerId, gender, ageRange and what each person speaks; optional
    wavs/speakers/SPEAKER/NAME.wav
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import (
    Corpus,
    LeftOut,
    annotation_rows,
    check_split,
    expected,
    require_folder,
    usable_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="fluent_speech_commands",
    title="Fluent Speech Commands",
    description=(
        "English commands to a voice assistant with transcript and intent, by native and other speakers whose gender, "
        "age range, first language and fluency are recorded. valid and test hold other speakers than train, but the "
        "same phrasings: a model may know the sentences."
    ),
    licence="Fluent Speech Commands Public License (academic research only)",
    citation=(
        "Lugosch, Ravanelli, Ignoto, Tomar and Bengio 2019, Speech Model Pre-training for End-to-End Spoken Language "
        "Understanding, Interspeech, arXiv:1904.03670"
    ),
    size="1.6 GB to download, 30043 recordings, 19 h",
    layout="data/{train,valid,test}_data.csv, data/speaker_demographics.csv and wavs/speakers/SPEAKER/*.wav",
    splits={
        "train": "23132 recordings by 77 speakers; the corpus's own split, by speaker, as all of these",
        "valid": "3118 recordings by 10 speakers",
        "test": "3793 recordings by 10 speakers",
    },
    languages=("en",),
    labels=(
        "label",
        "text",
        "language",
        "speaker",
        "gender",
        "action",
        "object",
        "location",
        "age",
        "first_language",
        "fluency",
    ),
)

SLOTS = ("action", "object", "location")
"""What an intent is made of; the label joins them with hyphens, `none` included."""


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a command; its label is the intent, ``activate-lights-kitchen``.

    Raises
    ------
    UserError
        If a split's list is missing below `root`, or lacks a column.
    """
    check_split(CORPUS, split)
    inner = root / "fluent_speech_commands_dataset"
    root = inner if inner.is_dir() else root
    require_folder(root, CORPUS)
    people_file = root / "data/speaker_demographics.csv"
    people = (
        {row["speakerId"]: row for row in _rows(people_file, ("speakerId",), left_out)} if people_file.is_file() else {}
    )
    for part in CORPUS.splits if split is None else [split]:
        for row in _rows(root / f"data/{part}_data.csv", ("path", "speakerId", "transcription", *SLOTS), left_out):
            path = root / row["path"]
            if (clip := usable_file(path, path.stem, left_out)) is None:
                continue
            yield _labelled(clip, row, people.get(row["speakerId"], {}), part)


def _labelled(clip: Clip, row: dict[str, str], person: dict[str, str], part: str) -> Clip:
    slots = {slot: row[slot] for slot in SLOTS}
    about = {
        "age": person.get("ageRange") or None,
        "first_language": person.get("First Language spoken") or None,
        "fluency": person.get("Self-reported fluency level") or None,
    }
    return replace(
        clip,
        label="-".join(slots.values()),
        text=row["transcription"],
        language="en",
        speaker=row["speakerId"],
        gender=person.get("gender") or None,
        split=part,
        extra={**slots, **about},
    )


def _rows(path: Path, needed: tuple[str, ...], left_out: LeftOut) -> Iterator[dict[str, str]]:
    """Yield the rows of a table, without the spaces around names and values."""
    if not path.is_file():
        raise expected(CORPUS, path, "there is no such file", "a table of")
    return (row for _, row in annotation_rows(path, needed, left_out, delimiter=","))
