"""Multilingual TEDx: talks in eight languages with transcripts, and translations of some into five.

765 h of Spanish, French, Portuguese, Italian, Russian, Greek, Arabic and German, cut into sentences (Salesky et al.
2021). The folder es-es has Spanish talks with transcripts, es-en those that have been translated to English as well.
Get it from https://www.openslr.org/100.

Layout below the root, which may be the folder of one pair or one that holds several::

    [XX-YY/]data/SPLIT/txt/SPLIT.XX      transcripts, a line for each sentence
    [XX-YY/]data/SPLIT/txt/SPLIT.YY      translations, the same lines
    [XX-YY/]data/SPLIT/txt/SPLIT.yaml    `- {duration: 4.2, offset: 12.6, speaker_id: TALK, wav: TALK.wav}`
    [XX-YY/]data/SPLIT/txt/segments      `SENTENCE TALK START END`, read if the yaml is not there
    [XX-YY/]data/SPLIT/wav/TALK.flac     or .wav

The pairs of one language share talks: read all of them at once, and the same sound appears once a pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audio_ssl.data.corpus import (
    AudioError,
    Corpus,
    LeftOut,
    UserError,
    annotation_text,
    check_split,
    expected,
    first_file,
    read_yaml,
    require_folder,
    whole_file,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="mtedx",
    title="Multilingual TEDx",
    description=(
        "Talks in eight languages with transcripts, and for some pairs of languages translations: for recognition and "
        "for translation from speech. A talk counts as a speaker; gender is not recorded."
    ),
    licence="CC-BY-NC-ND-4.0",
    citation=(
        "Salesky, Wiesner, Bremerman, Cattoni, Negri, Turchi, Oard and Post 2021, The Multilingual TEDx Corpus for "
        "Speech Recognition and Translation, Interspeech, arXiv:2102.01757. https://www.openslr.org/100"
    ),
    size="765 h with transcripts: es and fr 189 h each, pt 164, it 107, ru 53, el 30, ar 18, de 15",
    layout="XX-YY/data/SPLIT/wav/*.flac and XX-YY/data/SPLIT/txt/{SPLIT.XX,SPLIT.YY,SPLIT.yaml or segments}",
    splits={
        "train": "the corpus's own, by talk, as all of these",
        "valid": "for validation",
        "test": "for the test",
        "iwslt2021": "the evaluation set of IWSLT 2021, in the pairs that have it",
    },
    languages=("ar", "de", "el", "es", "fr", "it", "pt", "ru"),
    labels=("text", "translation", "language", "speaker", "translation_language", "pair"),
)


@dataclass(frozen=True)
class _Segment:
    name: str
    talk: str
    start: float
    seconds: float


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a sentence of the pairs that are there.

    Raises
    ------
    UserError
        If there is no pair below `root`, or none has the split, or its files do not fit one another.
    """
    check_split(CORPUS, split)
    require_folder(root, CORPUS)
    pairs = [root] if (root / "data").is_dir() else sorted(path.parent for path in root.glob("??-??/data"))
    wanted = list(CORPUS.splits) if split is None else [split]
    places = [(pair, part) for pair in pairs for part in wanted if (pair / "data" / part).is_dir()]
    if not places:
        raise expected(CORPUS, root, f"there is no folder like es-en/data/{wanted[0]}")
    for pair, part in places:
        yield from _part(pair.absolute().name, pair / "data" / part, left_out)


def _part(pair: str, folder: Path, left_out: LeftOut) -> Iterator[Clip]:
    part = folder.name
    source, _, target = pair.partition("-")
    texts = _lines(folder / f"txt/{part}.{source}")
    translations = None if target == source else _lines(folder / f"txt/{part}.{target}")
    segments = _segments(folder / "txt", part)
    if not len(segments) == len(texts) == len(translations or texts):
        counts = f"{len(segments)} segments, {len(texts)} transcripts, {len(translations or texts)} translations"
        raise UserError(f"the lines must be as many as the segments, but there are {counts}", where=str(folder / "txt"))
    talks: dict[str, Clip | str] = {}
    for number, (segment, text) in enumerate(zip(segments, texts, strict=True)):
        if isinstance(segment, str):
            left_out.add(f"{pair}/{part}, segment {number + 1}", segment)
            continue
        if segment.talk not in talks:
            talks[segment.talk] = _talk(folder / "wav", segment.talk)
        talk = talks[segment.talk]
        if isinstance(talk, str):
            left_out.add(f"{pair}/{segment.name}", talk)
        elif not segment.seconds > 0 or not segment.start >= 0 or segment.start + segment.seconds > talk.seconds + 0.05:
            left_out.add(f"{pair}/{segment.name}", "not within its talk")
        elif not text:
            left_out.add(f"{pair}/{segment.name}", "without a transcript")
        else:
            yield replace(
                talk,
                id=f"{pair}/{segment.name}",
                start=segment.start,
                seconds=min(segment.seconds, talk.seconds - segment.start),
                text=text,
                translation=translations[number] or None if translations else None,
                language=source,
                speaker=segment.talk,
                split=part,
                extra={"translation_language": target if translations else None, "pair": pair},
            )


def _talk(wav: Path, name: str) -> Clip | str:
    """Return the clip of a whole talk, or why there is none."""
    # The yaml says .wav, the archives have .flac.
    path = first_file(wav / f"{name}.flac", wav / f"{name}.wav")
    try:
        return whole_file(path, name)
    except AudioError as error:
        return error.reason


def _lines(path: Path) -> list[str]:
    # Only a line feed ends a line: subtitles may hold other separators of Unicode.
    return [line.strip() for line in _text(path).removesuffix("\n").split("\n")]


def _there(path: Path) -> Path:
    if not path.is_file():
        raise expected(CORPUS, path, "there is no such file", "a text of")
    return path


def _text(path: Path) -> str:
    try:
        return annotation_text(_there(path))
    except AudioError as error:
        raise UserError(error.reason, where=str(path)) from error


def _segments(txt: Path, part: str) -> list[_Segment | str]:
    """Return the segments in the order of the texts; of one that cannot be understood, why."""
    path = txt / f"{part}.yaml"
    by_yaml = path.is_file() or not (txt / "segments").is_file()
    path = path if by_yaml else txt / "segments"
    try:
        return _from_yaml(_there(path)) if by_yaml else [_from_line(line) for line in _lines(path)]
    except (ValueError, TypeError) as error:
        raise UserError(
            f"not a list of segments: {type(error).__name__}: {error}",
            where=str(path),
            remedy="a line must be `- {duration: 4.2, offset: 12.6, speaker_id: TALK, wav: TALK.wav}`, or in the file "
            "`segments` `SENTENCE TALK START END`",
        ) from error


def _from_yaml(path: Path) -> list[_Segment | str]:
    # All values stay text: an id may look like a number.
    rows: Any = read_yaml(path, most_bytes=1 << 30, typed=False)
    if not isinstance(rows, list):
        raise ValueError("the file holds no list")
    segments: list[_Segment | str] = []
    numbers: dict[str, int] = {}
    for row in rows:
        try:
            talk = row["wav"].removesuffix(".wav").removesuffix(".flac")
            number = numbers[talk] = numbers.get(talk, -1) + 1
            segments.append(_Segment(f"{talk}_{number:04d}", talk, float(row["offset"]), float(row["duration"])))
        except (ValueError, KeyError, TypeError, AttributeError):
            segments.append("its line must be like `{duration: 4.2, offset: 12.6, speaker_id: TALK, wav: TALK.wav}`")
    return segments


def _from_line(line: str) -> _Segment | str:
    try:
        name, talk, start, end = line.split()
        return _Segment(name, talk, float(start), float(end) - float(start))
    except ValueError:
        return "its line must be like `SENTENCE TALK START END`"
