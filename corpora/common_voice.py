"""Common Voice: sentences read aloud by volunteers in more than a hundred languages, with self-reported attributes.

Each release has one archive a language: mp3 clips of up to some ten seconds, checked by other volunteers (Ardila et al.
2020). Speakers may report gender, age and accent; these are often empty. Get it from https://commonvoice.mozilla.org.

Layout below the root, which may be the folder of one language or one that holds several::

    [LANGUAGE/]{train,dev,test}.tsv    columns client_id, path, sentence; gender, age, accents (accent in older ones)
    [LANGUAGE/]{validated,invalidated,other}.tsv    the same columns; optional
    [LANGUAGE/]clips/PATH              mp3; converted clips may have another suffix
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from audio_ssl.data.corpus import (
    Corpus,
    LeftOut,
    check_split,
    common_voice_audio,
    common_voice_gender,
    common_voice_rows,
    expected,
    require_folder,
    usable_file,
)
from audio_ssl.data.manifest import Clip

# fmt: off
LANGUAGES = (
    "ab", "af", "am", "ar", "as", "ast", "az", "ba", "bas", "be", "bg", "bn", "br", "ca", "ckb", "cnh", "cs", "cv",
    "cy", "da", "de", "dv", "dyu", "el", "en", "eo", "es", "et", "eu", "fa", "fi", "fr", "fy", "ga", "gl", "gn",
    "ha", "he", "hi", "hsb", "ht", "hu", "hy", "ia", "id", "ig", "is", "it", "ja", "ka", "kab", "kk", "kmr", "ko",
    "ky", "lg", "lij", "lo", "lt", "ltg", "lv", "mdf", "mhr", "mk", "ml", "mn", "mr", "mrj", "mt", "myv", "nan",
    "ne", "nhi", "nl", "nn", "nso", "oc", "or", "os", "pa", "pl", "ps", "pt", "quy", "rm", "ro", "ru", "rw", "sah",
    "sat", "sc", "sk", "skr", "sl", "sq", "sr", "sv", "sw", "ta", "te", "th", "ti", "tig", "tk", "tok", "tr", "tt",
    "tw", "ug", "uk", "ur", "uz", "vi", "vot", "yi", "yo", "yue", "zgh", "zh", "zu", "zza",
)
# fmt: on
"""ISO 639 codes of the languages in the releases until 2025; a folder of another is read all the same."""

CORPUS = Corpus(
    name="common_voice",
    title="Common Voice",
    description=(
        "Read sentences in many languages with transcripts, and gender, age and accent as the speakers gave them: for "
        "recognition, and for tests over speakers. No speaker is in two splits. Women are few in many languages."
    ),
    licence="CC0-1.0",
    citation=(
        "Ardila et al. 2020, Common Voice: A Massively-Multilingual Speech Corpus, LREC, arXiv:1912.06670. "
        "https://commonvoice.mozilla.org"
    ),
    size="by language and release: from minutes and some MB to thousands of hours and some 90 GB",
    layout="LANGUAGE/{train,dev,test}.tsv (or validated.tsv …) and LANGUAGE/clips/*.mp3, or the same without LANGUAGE",
    splits={
        "train": "the release's own, by speaker, as all of these",
        "dev": "for validation",
        "test": "for the test",
        "validated": "all that listeners agreed on, the three above among them; only if asked for, as those below",
        "invalidated": "what listeners refused",
        "other": "what too few listeners have heard",
    },
    languages=LANGUAGES,
    labels=("text", "language", "speaker", "gender", "age", "accent", "locale"),
)

PARTS = ("train", "dev", "test")
"""Splits that share no clip: what is read where none is asked for."""


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a sentence of the languages that are there.

    Raises
    ------
    UserError
        If there is no language below `root`, or one lacks the split, or a table lacks a column.
    """
    check_split(CORPUS, split)
    require_folder(root, CORPUS)
    places = [root] if (root / "clips").is_dir() else sorted(path.parent for path in root.glob("*/clips"))
    if not places:
        raise expected(CORPUS, root, "neither clips/ nor LANGUAGE/clips/ is there")
    for place in places:
        for part in PARTS if split is None else [split]:
            for row in _rows(place / f"{part}.tsv", left_out):
                yield from _clip(place, part, row, left_out)


def _clip(place: Path, part: str, row: dict[str, str], left_out: LeftOut) -> Iterator[Clip]:
    path = common_voice_audio(place / "clips" / row["path"])
    if (clip := usable_file(path, path.stem, left_out)) is None:
        return
    # A language's folder is named as its locale; some have a region, as zh-TW.
    locale = row.get("locale") or place.absolute().name
    yield replace(
        clip,
        text=row["sentence"],
        language=locale.partition("-")[0],
        speaker=row["client_id"],
        gender=common_voice_gender(row),
        split=part,
        extra={
            "age": row.get("age") or None,
            "accent": row.get("accents") or row.get("accent") or None,
            "locale": locale,
        },
    )


def _rows(path: Path, left_out: LeftOut) -> Iterator[dict[str, str]]:
    if not path.is_file():
        raise expected(CORPUS, path, "there is no such file", "a table of")
    return common_voice_rows(path, ("client_id", "path", "sentence"), left_out)
