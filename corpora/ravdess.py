"""RAVDESS: two sentences spoken and sung by 24 actors in eight emotions; the labels are in the file names.

The audio-only part: 1440 recordings of speech and 1012 of song, 48 kHz, with as many women as men, except that one
woman does not sing (Livingstone and Russo 2018). Get Audio_Speech_Actors_01-24.zip, and Audio_Song_Actors_01-24.zip for
the song, from https://zenodo.org/records/1188976.

Layout below the root, or below a folder for each archive::

    Actor_AA/MODALITY-CHANNEL-EMOTION-INTENSITY-STATEMENT-REPETITION-AA.wav    03-01-06-01-02-01-12.wav
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import (
    Corpus,
    LeftOut,
    check_split,
    named_files,
    require_folder,
    usable_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="ravdess",
    title="RAVDESS",
    description=(
        "Two English sentences acted in eight emotions, spoken and sung, by twelve women and twelve men. Emotion does "
        "not follow from the words, as they are always the same; acted emotion is stronger than that of daily life."
    ),
    licence="CC-BY-NC-SA-4.0",
    citation=(
        "Livingstone and Russo 2018, The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS), PLoS "
        "ONE 13(5): e0196391. https://zenodo.org/records/1188976"
    ),
    size="speech 208 MB to download, 1440 recordings; song 226 MB, 1012 recordings",
    layout="Actor_AA/03-CHANNEL-EMOTION-INTENSITY-STATEMENT-REPETITION-AA.wav",
    splits={
        "train": "actors 1 to 16; the corpus has no split of its own",
        "valid": "actors 17 to 20, two women and two men",
        "test": "actors 21 to 24, two women and two men",
    },
    languages=("en",),
    labels=(
        "label",
        "text",
        "language",
        "speaker",
        "gender",
        "emotion",
        "channel",
        "intensity",
        "statement",
        "repetition",
    ),
)

EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgusted",
    "08": "surprised",
}
STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}

_CHANNELS = {"01": "speech", "02": "song"}
_INTENSITIES = {"01": "normal", "02": "strong"}
_NAME = re.compile(r"03-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)$")


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a recording; its label is the emotion.

    Raises
    ------
    UserError
        If there are no recordings below `root`.
    """
    check_split(CORPUS, split)
    require_folder(root, CORPUS)
    paths = sorted(root.glob("Actor_*/*.wav")) + sorted(root.glob("*/Actor_*/*.wav"))
    named = named_files(paths, _NAME, CORPUS, root, "Actor_12/03-01-06-01-02-01-12.wav", left_out)
    seen: set[str] = set()
    for path, match in named:
        actor = int(match[6])
        part = "train" if actor <= 16 else "valid" if actor <= 20 else "test"
        if split not in (None, part):
            continue
        # A widespread copy has all of it twice.
        if path.stem in seen:
            left_out.add(path, "the same recording again")
            continue
        seen.add(path.stem)
        if (clip := usable_file(path, path.stem, left_out)) is None:
            continue
        yield _labelled(clip, match, part)


def _labelled(clip: Clip, match: re.Match[str], part: str) -> Clip:
    channel, emotion, intensity, statement, repetition, actor = match.groups()
    return replace(
        clip,
        label=EMOTIONS[emotion],
        text=STATEMENTS[statement],
        language="en",
        speaker=actor,
        # The corpus numbers men odd and women even.
        gender="M" if int(actor) % 2 else "F",
        split=part,
        extra={
            "emotion": EMOTIONS[emotion],
            "channel": _CHANNELS[channel],
            "intensity": _INTENSITIES[intensity],
            "statement": int(statement),
            "repetition": int(repetition),
        },
    )
