"""Flite voices: English sentences by four voices that were made from recordings of people; for pretraining.

Three of the voices are statistics of a speaker's recordings (CLUSTERGEN), one joins pieces of them (diphones), so they
sound closer to people than the formants of `synthetic_voices`. They speak the English texts of that corpus, which must
be beside the root, each with its own pitch and pace; so they do not contain held-out sentences of other corpora. Debian
package libflite1, made at Carnegie Mellon University, http://cmuflite.org.

Layout below the root, made by `fetch`::

    libflite1/usr/lib/*/libflite.so.1 ...   the synthesiser and its voices, unpacked
    labels.json                             {"wanted": how many were asked for, "clips": rows}
    audio/VOICE/NUMBER_HASH.flac            16 kHz mono; the hash is that of what is said, and how
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import soundfile

from audio_ssl.data.corpus import (
    Corpus,
    Flite,
    LeftOut,
    UserError,
    announce,
    atomic_write,
    fetch_apt,
    hash_draw,
    is_made,
    load_corpus,
    made_clips,
    track,
    write_made,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="flite_voices",
    title="Flite voices",
    description=(
        "English by four synthetic voices made from recordings of three men and a woman, at any pitch and pace, to "
        "pretrain on. Gender is that of the person recorded; nothing said by a synthesiser is about people."
    ),
    licence="no terms on the sound; Flite and its voices have CMU's licence, like BSD's; texts as in synthetic_voices",
    citation=(
        "Flite 2.2, Alan W Black, Kevin A. Lenzo and others, Carnegie Mellon University, http://cmuflite.org; voices "
        "awb, kal, rms, slt of CMU ARCTIC and of CMU's diphones"
    ),
    size="13 MB to download; 2000 clips, 3.3 h, 250 MB, made in three minutes on one core",
    layout="labels.json and audio/VOICE/NUMBER_HASH.flac, as `fetch` makes them",
    splits={"train": "texts of the training split of synthetic_voices", "valid": "texts of its validation split"},
    languages=("en",),
    labels=("text", "language", "speaker", "gender", "stretch", "shift"),
    made=True,
    requires=("apt", "pip:espeakng-loader", "pip:babel", "pip:music21"),
)

VOICES = {"awb": "M", "kal16": "M", "rms": "M", "slt": "F"}
"""Voice -> gender of the person who was recorded. The only woman speaks half of the clips."""

_TURNS = ("slt", "awb", "slt", "rms", "slt", "kal16")
PACKAGE = "libflite1"
_TEXTS = "synthetic_voices"


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip an utterance.

    Raises
    ------
    UserError
        If nothing has been synthesised below `root`.
    """
    for clip, row in made_clips(root, CORPUS, split, left_out):
        yield replace(
            clip,
            text=row["text"],
            language="en",
            speaker=row["speaker"],
            gender=VOICES[row["speaker"]],
            extra={"stretch": row["stretch"], "shift": row["shift"]},
        )


def fetch(root: Path, clips: int = 2000) -> None:
    """Synthesise the clips; those that are there already stay.

    Parameters
    ----------
    root
        Folder for the corpus; `synthetic_voices` must lie beside it.
    clips
        How many, of six seconds on average. More of them begin with the same ones.

    Raises
    ------
    UserError
        If `clips` is not positive, the texts are not there, or the package cannot be had or does not load.
    """
    if clips < 1:
        raise UserError(f"`clips` must be at least 1, but is {clips}")
    if is_made(root, clips):
        return
    announce(CORPUS, root)
    texts = [clip for clip in load_corpus(_TEXTS).read(root.parent / _TEXTS) if clip.language == "en"]
    if not texts:
        raise UserError(
            f"`{_TEXTS}` has no English text", where=str(root.parent / _TEXTS), remedy="make more of its clips"
        )
    fetch_apt([PACKAGE], root)
    flite = Flite(_libraries(root), list(VOICES))
    rows = []
    for row in track(_rows(clips, texts), "synthesise speech"):
        path = root / "audio" / f"{row['name']}.flac"
        if not path.is_file():
            samples, rate = flite.speak(row["text"], row["speaker"], row["stretch"], row["shift"])
            with atomic_write(path) as partial:
                soundfile.write(partial, samples, rate, format="FLAC", compression_level=0.3)
        rows.append(row)
    write_made(root, clips, rows)


def _libraries(root: Path) -> Path:
    # Debian's folder has the name of the processor.
    found = sorted((root / PACKAGE / "usr" / "lib").glob("*/libflite.so.1"))
    if not found:
        raise UserError(f"the package {PACKAGE} was expected to hold libflite.so.1", where=str(root / PACKAGE))
    return found[0].parent


def _rows(clips: int, texts: Sequence[Clip]) -> list[dict[str, Any]]:
    """Return what is said, by whom and how: text after text by voice after voice, again by others if texts run out."""
    rows = []
    for number in range(clips):
        text = texts[number % len(texts)]
        voice = _TURNS[(number + number // len(texts)) % len(_TURNS)]

        def draw(what: str, fewest: int, most: int, number: int = number) -> float:
            return (fewest + hash_draw(f"{CORPUS.name}/{what}/{number}", most - fewest + 1)) / 100

        how = {"stretch": draw("stretch", 75, 135), "shift": draw("shift", 75, 130)}
        name = hashlib.sha256(f"{text.text}/{how}".encode()).hexdigest()[:8]
        rows.append(
            {"name": f"{voice}/{number:06d}_{name}", "text": text.text, "speaker": voice, "split": text.split, **how}
        )
    return rows
