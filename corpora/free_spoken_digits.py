"""Free Spoken Digit Dataset: English digits by six speakers, a small corpus for a quick check of a whole pipeline.

3000 recordings, 50 of each digit by each speaker, 8 kHz, trimmed to the word (Jackson and others 2016). Get it from
https://github.com/Jakobovski/free-spoken-digit-dataset.

Layout below the root::

    recordings/DIGIT_SPEAKER_INDEX.wav
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
    name="free_spoken_digits",
    title="Free Spoken Digit Dataset",
    description=(
        "The digits 0 to 9 in English by six men of four accents. Every speaker is in every split: a score says how "
        "well known voices are read; for new voices use folds over speakers."
    ),
    licence="CC-BY-SA-4.0",
    citation=(
        "Jackson, Souza, Flaks, Pan, Nicolas and Thite, Free Spoken Digit Dataset, doi:10.5281/zenodo.1342401. "
        "https://github.com/Jakobovski/free-spoken-digit-dataset"
    ),
    size="16 MB to download, 3000 recordings, 22 min",
    layout="recordings/DIGIT_SPEAKER_INDEX.wav",
    splits={
        "train": "indices from 10",
        "valid": "indices 5 to 9, taken from the corpus's own training part",
        "test": "indices 0 to 4, the corpus's own test",
    },
    languages=("en",),
    labels=("label", "text", "language", "speaker", "gender", "accent", "index"),
)

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPEAKERS = {
    "george": ("M", "GRC/Greek"),
    "jackson": ("M", "USA/neutral"),
    "lucas": ("M", "DEU/German"),
    "nicolas": ("M", "BEL/French"),
    "theo": ("M", "USA/neutral"),
    "yweweler": ("M", "DEU/German"),
}
"""Gender and accent, from the corpus's ``metadata.py``; others may have been added since."""

_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<index>\d+)$")


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a recording.

    Raises
    ------
    UserError
        If there are no recordings below `root`.
    """
    check_split(CORPUS, split)
    folder = require_folder(root / "recordings", CORPUS)
    named = named_files(sorted(folder.glob("*.wav")), _NAME, CORPUS, folder, "7_jackson_32.wav", left_out)
    for path, match in named:
        index = int(match["index"])
        part = "test" if index < 5 else "valid" if index < 10 else "train"
        if split not in (None, part):
            continue
        if (clip := usable_file(path, path.stem, left_out)) is None:
            continue
        gender, accent = SPEAKERS.get(match["speaker"], (None, None))
        yield replace(
            clip,
            label=match["digit"],
            text=WORDS[int(match["digit"])],
            language="en",
            speaker=match["speaker"],
            gender=gender,
            split=part,
            extra={"accent": accent, "index": index},
        )
