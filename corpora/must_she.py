"""MuST-SHE: English talks whose translation shows a gender that English leaves open, for tests of speech translation.

About a thousand segments of TED talks for each target language, with the correct translation, one that differs only in
the gender of the words that show it, and a list of these words (Bentivogli et al. 2020; the evaluation is Gaido et al.
2020). Get it from https://mt.fbk.eu/must-she.

Layout below the root, or below one folder of it::

    tsv/MONOLINGUAL.xx_vN.tsv    columns ID, LANG, TALK, SRC, REF, WRONG-REF, SPEAKER, GENDER, CATEGORY, GENDERTERMS
    wav/ID.wav

CATEGORY is 1 if the word refers to the speaker, whose voice may indicate the gender, and 2 if it refers to someone else
and other words indicate it; F or M is the correct gender. GENDERTERMS is ``right wrong;right wrong``, one word each.
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
    name="must_she",
    title="MuST-SHE",
    description=(
        "English speech with translations into French, Italian and Spanish, right and with the other gender, balanced "
        "between feminine and masculine: does a translation use the right gender, and where from? For testing only. A "
        "system should hear and say full sentences; scoring looks for the terms in its output."
    ),
    licence="CC-BY-NC-ND-4.0",
    citation=(
        "Bentivogli, Savoldi, Negri, Di Gangi, Cattoni and Turchi 2020, Gender in Danger? Evaluating Speech "
        "Translation Technology on the MuST-SHE Corpus, ACL, arXiv:2006.05754. https://mt.fbk.eu/must-she"
    ),
    size="about 1000 to 1200 segments a target language, 2 h",
    layout="tsv/MONOLINGUAL.xx_vN.tsv and wav/ID.wav",
    splits={"test": "all of it"},
    languages=("en",),
    labels=(
        "text",
        "translation",
        "language",
        "speaker",
        "gender",
        "translation_language",
        "wrong_reference",
        "category",
        "terms",
        "talk",
        "comment",
    ),
)

GENDERS = {"She": "F", "He": "M", "F": "F", "M": "M"}
"""The pronouns of the speaker's TED page, after ``Multi-`` those of several speakers; other values stay as they are."""

_NEEDED = ("ID", "LANG", "SRC", "REF", "WRONG-REF", "CATEGORY", "GENDERTERMS")


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a segment and target language.

    Raises
    ------
    UserError
        If there is no table below `root`, or one lacks a column.
    """
    check_split(CORPUS, split)
    require_folder(root, CORPUS)
    name = "MONOLINGUAL.*.tsv"
    tables = next((t for p in ("tsv/", "", "*/tsv/", "*/") if (t := sorted(root.glob(p + name)))), [])
    if not tables:
        raise expected(CORPUS, root, "there is no table like tsv/MONOLINGUAL.fr_v1.2.tsv")
    for table in tables:
        folder = table.parent if (table.parent / "wav").is_dir() else table.parent.parent
        for row in _rows(table, left_out):
            path = folder / "wav" / f"{row['ID']}.wav"
            if (clip := usable_file(path, f"{row['LANG'].lower()}/{row['ID']}", left_out)) is None:
                continue
            yield _labelled(clip, row)


def _labelled(clip: Clip, row: dict[str, str]) -> Clip:
    gender = row.get("GENDER") or None
    return replace(
        clip,
        text=row["SRC"],
        translation=row["REF"],
        language="en",
        speaker=row.get("SPEAKER") or row.get("TALK") or None,
        gender=GENDERS.get(gender.rpartition("-")[2], gender) if gender else None,
        split="test",
        extra={
            "translation_language": row["LANG"].lower(),
            "wrong_reference": row["WRONG-REF"],
            "category": row["CATEGORY"],
            "terms": row["GENDERTERMS"],
            "talk": row.get("TALK") or None,
            "comment": row.get("COMMENT") or None,
        },
    )


def _rows(path: Path, left_out: LeftOut) -> Iterator[dict[str, str]]:
    for where, cells in annotation_rows(path, _NEEDED, left_out, delimiter="\t", quotes=False):
        row = {name: _unquote(cell) for name, cell in cells.items()}
        if empty := [name for name in _NEEDED if not row[name]]:
            left_out.add(where, f"a segment needs {', '.join(empty)}")
        else:
            yield row


def _unquote(value: str) -> str:
    """Return a value without the quotes of a spreadsheet, which doubles those that it meets; others are the text's."""
    inner = value[1:-1]
    quoted = len(value) > 1 and value[0] == value[-1] == '"' and '""' in inner and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else value
