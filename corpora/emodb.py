"""EmoDB, the Berlin Database of Emotional Speech: ten German sentences acted in seven emotions by ten speakers.

535 recordings at 16 kHz, selected from about 800 as well recognised and natural; five women and five men (Burkhardt et
al. 2005). Get it from http://emodb.bilderbar.info.

Layout below the root::

    wav/SSTTTEV.wav    03a01Fa.wav: speaker, text, emotion as the first letter of the German word, version
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
    name="emodb",
    title="EmoDB",
    description=(
        "German sentences of no emotion in themselves, acted in seven emotions, with age and gender of the speakers. "
        "Small: use folds over speakers, and expect wide intervals."
    ),
    licence="free for research, see the site; audEERING distributes it as CC0-1.0",
    citation=(
        "Burkhardt, Paeschke, Rolfes, Sendlmeier and Weiss 2005, A database of German emotional speech, Interspeech. "
        "http://emodb.bilderbar.info"
    ),
    size="40 MB to download, 535 recordings, 25 min",
    layout="wav/03a01Fa.wav",
    splits={
        "train": "speakers 03, 08, 09, 10, 11 and 13; the corpus has no split of its own",
        "valid": "speakers 12 and 14, a man and a woman",
        "test": "speakers 15 and 16, a man and a woman",
    },
    languages=("de",),
    labels=("label", "text", "language", "speaker", "gender", "emotion", "age", "sentence", "version"),
)

SPEAKERS = {
    "03": ("M", 31),
    "08": ("F", 34),
    "09": ("F", 21),
    "10": ("M", 32),
    "11": ("M", 26),
    "12": ("M", 30),
    "13": ("F", 32),
    "14": ("F", 35),
    "15": ("M", 25),
    "16": ("F", 31),
}
"""Gender and age in years, from the corpus's documentation."""

EMOTIONS = {
    "W": "angry",
    "L": "bored",
    "E": "disgusted",
    "A": "fearful",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
"""Wut, Langeweile, Ekel, Angst, Freude, Trauer, neutral."""

SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute Abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}

_NAME = re.compile(r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[WLEAFTN])(?P<version>[a-z]?)$")
_PARTS = {"12": "valid", "14": "valid", "15": "test", "16": "test"}


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a recording; its label is the emotion.

    Raises
    ------
    UserError
        If there are no recordings below `root`.
    """
    check_split(CORPUS, split)
    folder = require_folder(root / "wav", CORPUS)
    named = named_files(sorted(folder.glob("*.wav")), _NAME, CORPUS, folder, "03a01Fa.wav", left_out)
    for path, match in named:
        part = _PARTS.get(match["speaker"], "train")
        if split not in (None, part):
            continue
        if (clip := usable_file(path, path.stem, left_out)) is None:
            continue
        gender, age = SPEAKERS.get(match["speaker"], (None, None))
        emotion = EMOTIONS[match["emotion"]]
        yield replace(
            clip,
            label=emotion,
            text=SENTENCES.get(match["sentence"]),
            language="de",
            speaker=match["speaker"],
            gender=gender,
            split=part,
            extra={
                "emotion": emotion,
                "age": age,
                "sentence": match["sentence"],
                "version": match["version"] or None,
            },
        )
