"""Tux Paint stamp descriptions: what is on a drawing program's stamps, read aloud in nine languages.

One volunteer a language read the descriptions, in short clips recorded at home. Every clip has its text and the English
description. Debian package tuxpaint-stamps-default; Tux Paint, Bill Kendrick and others,
https://tuxpaint.org.

Layout below the root::

    tuxpaint-stamps-default/usr/share/tuxpaint/stamps/**/STAMP.txt          English, then `xx.utf8=text` lines
    tuxpaint-stamps-default/usr/share/tuxpaint/stamps/**/STAMP_desc_XX.ogg

Some translations were made longer after the recording, most of all in Belarusian, Catalan, Greek and Danish. Left out:
clips with more characters a second than their reader speaks, recordings that appear twice, languages with a handful of
clips (nl, ml) or no texts (lt), and the stamps' sound effects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import (
    Corpus,
    LeftOut,
    announce,
    check_split,
    fetch_apt,
    hash_split,
    require_folder,
    usable_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="tuxpaint",
    title="Tux Paint stamp descriptions",
    description=(
        "Read speech in French, Romanian, Russian, Bulgarian, Spanish, Greek, Belarusian, Catalan and Danish with "
        "English translations. One reader a language: gender, speaker and language cannot be told apart."
    ),
    licence="GPL-2.0-only",
    citation="Tux Paint stamps, Bill Kendrick and contributors, 2002-2022. https://tuxpaint.org",
    size="161 MB to download; 5875 clips, 148 min: fr 791 ru 782 ro 777 bg 774 es 753 ca 636 be 549 el 515 da 298",
    layout="tuxpaint-stamps-default/usr/share/tuxpaint/stamps",
    splits={
        "train": "about 80 % of the stamps, by a hash of the English description; all languages of a stamp go together",
        "valid": "about 10 % of the stamps",
        "test": "about 10 % of the stamps",
    },
    languages=("be", "bg", "ca", "da", "el", "es", "fr", "ro", "ru"),
    labels=("text", "translation", "language", "speaker", "gender", "stamp"),
    requires=("apt",),
)

PACKAGE = "tuxpaint-stamps-default"
GENDERS = {"be": "F", "bg": "M", "ca": "M", "da": "M", "el": "F", "es": "F", "fr": "M", "ro": "F", "ru": "M"}
"""Of the one reader of each language."""

# With these limits text length and duration correlate at 0.94 and more (0.83 for ca), without them at 0.2 to 0.8.
_MOST_CHARACTERS_A_SECOND = {"be": 14.0, "ca": 24.0, "el": 20.0, "da": 26.0}
_MOST_ELSEWHERE = 32.0
_FEWEST_CHARACTERS_A_SECOND = 3.0


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a stamp and language, in the order of the stamps.

    Raises
    ------
    UserError
        If the unpacked package is not below `root`.
    """
    check_split(CORPUS, split)
    stamps = require_folder(root / PACKAGE / "usr/share/tuxpaint/stamps", CORPUS)
    heard: set[tuple[str, str, int]] = set()
    for description in sorted(stamps.rglob("*.txt")):
        english, texts = _read_description(description)
        for language in CORPUS.languages:
            path = description.with_name(f"{description.stem}_desc_{language}.ogg")
            if not path.is_file():
                continue
            recording = (language, texts.get(language, ""), path.stat().st_size)
            if recording in heard:
                left_out.add(path, "the same recording again")
                continue
            heard.add(recording)
            clip = _clip(path, path.relative_to(stamps), language, english, texts.get(language), left_out)
            if clip is not None and split in (None, clip.split):
                yield clip


def fetch(root: Path) -> None:
    """Download and unpack the package; if it is there already, nothing happens."""
    announce(CORPUS, root)
    fetch_apt([PACKAGE], root)


def _clip(path: Path, name: Path, language: str, english: str, text: str | None, left_out: LeftOut) -> Clip | None:
    if not text:
        left_out.add(path, "without a transcript")
        return None
    if (clip := usable_file(path, name.with_suffix("").as_posix(), left_out)) is None:
        return None
    most = _MOST_CHARACTERS_A_SECOND.get(language, _MOST_ELSEWHERE)
    if not _FEWEST_CHARACTERS_A_SECOND <= len(text) / clip.seconds <= most:
        left_out.add(path, "whose length does not fit the text")
        return None
    return replace(
        clip,
        text=text,
        translation=english,
        language=language,
        speaker=f"tuxpaint_{language}",
        gender=GENDERS[language],
        split=hash_split(CORPUS.name, english),
        extra={"stamp": name.with_name(path.stem.removesuffix(f"_desc_{language}")).as_posix()},
    )


def _read_description(path: Path) -> tuple[str, dict[str, str]]:
    english, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    pairs = (line.partition(".utf8=") for line in lines)
    return english.strip(), {language: text.strip() for language, found, text in pairs if found}
