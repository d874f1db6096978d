"""CoVoST 2: translations of Common Voice, from 21 languages to English and from English to 15.

About 2900 h of Common Voice 4 by 78 000 speakers, with a translation of each sentence (Wang et al. 2020). Get the
translations from https://github.com/facebookresearch/covost, and the clips of the spoken language from Common Voice,
release 4.

Layout below the root, which may be the folder of one spoken language or one that holds several::

    [XX/]covost_v2.XX_YY.tsv                     columns path, translation, split
    [XX/]covost_v2.XX_YY.{train,dev,test}.tsv    or these, which the authors' script makes, with sentence and client_id
    [XX/]validated.tsv                           Common Voice's: sentence, client_id, gender, age, accent; optional
    [XX/]clips/PATH                              mp3; or the same name with another suffix

Without ``validated.tsv`` gender is unknown, and with the first form of table the transcript and the speaker as well.
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

CORPUS = Corpus(
    name="covost2",
    title="CoVoST 2",
    description=(
        "Sentences read by volunteers with transcript and translation, for translation from speech: gender, age and "
        "accent are those that Common Voice's speakers gave."
    ),
    licence="CC0-1.0",
    citation=(
        "Wang, Wu and Pino 2020, CoVoST 2 and Massively Multilingual Speech-to-Text Translation, arXiv:2007.10310. "
        "https://github.com/facebookresearch/covost"
    ),
    size="about 2900 h by 78000 speakers in all pairs; English, French, German and Catalan have most",
    layout="XX/covost_v2.XX_YY.tsv (or covost_v2.XX_YY.SPLIT.tsv), XX/validated.tsv and XX/clips/*.mp3",
    splits={
        "train": "the corpus's own (`train` and `train_covost` of its tables)",
        "dev": "for validation",
        "test": "for the test",
    },
    languages=(
        *("ar", "ca", "cy", "de", "en", "es", "et", "fa", "fr", "id", "it"),
        *("ja", "lv", "mn", "nl", "pt", "ru", "sl", "sv", "ta", "tr", "zh"),
    ),
    labels=(
        "text",
        "translation",
        "language",
        "speaker",
        "gender",
        "age",
        "accent",
        "locale",
        "translation_language",
        "pair",
    ),
)

_PARTS = {"train_covost": "train"}

Row = dict[str, str]


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a translated sentence of the pairs that are there.

    Raises
    ------
    UserError
        If there is no table of translations below `root`, none has the split, or one lacks a column.
    """
    check_split(CORPUS, split)
    require_folder(root, CORPUS)
    tables = [t for t in sorted(root.glob("covost_v2.*.tsv")) + sorted(root.glob("*/covost_v2.*.tsv")) if _use(t)]
    tables = [t for t in tables if split is None or _part_of(t) in (None, split)]
    if not tables:
        raise expected(CORPUS, root, "there is no table like fr/covost_v2.fr_en.tsv")
    known: dict[Path, dict[str, Row]] = {}
    for table in tables:
        source, _, target = table.name.split(".")[1].partition("_")
        place = next((p for p in (table.parent, root / source) if (p / "clips").is_dir()), table.parent)
        if place not in known:
            known = {place: _validated(place / "validated.tsv", left_out)}
        own = _part_of(table)
        needed = ("path", "translation") if own else ("path", "translation", "split")
        for row in common_voice_rows(table, needed, left_out):
            part = own or _PARTS.get(row["split"], row["split"])
            if split in (None, part):
                about = {**known[place].get(row["path"], {}), **row}
                yield from _clip(place, source, target, part, about, left_out)


def _part_of(table: Path) -> str | None:
    """Return the split in a table's name, covost_v2.fr_en.dev.tsv; None for the one that holds all."""
    words = table.name.split(".")
    return words[2] if len(words) == 4 else None


def _use(table: Path) -> bool:
    """Return whether to read a table: those by split repeat the one of the pair."""
    pair = table.with_name(".".join(table.name.split(".")[:2]) + ".tsv")
    return _part_of(table) in (None, *CORPUS.splits) and (pair == table or not pair.is_file())


def _clip(place: Path, source: str, target: str, part: str, row: Row, left_out: LeftOut) -> Iterator[Clip]:
    path = common_voice_audio(place / "clips" / row["path"])
    if not row["translation"]:
        left_out.add(path, "without a translation")
        return
    if (clip := usable_file(path, f"{source}_{target}/{path.stem}", left_out)) is None:
        return
    yield replace(
        clip,
        text=row.get("sentence") or None,
        translation=row["translation"],
        language=source.partition("-")[0],
        speaker=row.get("client_id") or None,
        gender=common_voice_gender(row),
        split=part,
        extra={
            "age": row.get("age") or None,
            "accent": row.get("accents") or row.get("accent") or None,
            "locale": source,
            "translation_language": target.partition("-")[0],
            "pair": f"{source}_{target}",
        },
    )


def _validated(path: Path, left_out: LeftOut) -> dict[str, Row]:
    if not path.is_file():
        return {}
    return {row["path"]: row for row in common_voice_rows(path, ("path", "sentence"), left_out)}
