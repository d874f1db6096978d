"""Scores of music21's corpus that name their key: fiddle tunes in ABC and Bach's chorales in MusicXML.

The tunes of Ryan's Mammoth Collection and O'Neill's Music of Ireland whose header names a major or a minor key, and the
chorales whose MusicXML names the mode. Their notes are read without music21's streams, which are twenty times slower.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from audio_ssl.data.bars import beats_of_bars
from audio_ssl.data.musicxml import Note, musicxml_parts, musicxml_text

ABC_SOURCES = ("ryansMammoth", "oneills1850")
CHORALES = "bach"


@dataclass(frozen=True)
class Tune:
    """One score, before it is transposed."""

    name: str
    source: str
    title: str
    """In small letters without spaces; tunes of one title belong together."""

    tonic: int
    """Pitch class, C is 0."""

    mode: str
    metre: str
    dance: str | None
    text: str
    """ABC, or the path of a MusicXML file."""


@dataclass(frozen=True)
class TuneScore:
    """What a tune consists of; times are quarter notes from the beginning."""

    parts: list[list[Note]]
    """The notes of each voice."""

    beats: list[tuple[float, int]] | None
    """Where the beats are, and their numbers in the bar; None if bars do not add up to one metre."""

    @property
    def notes(self) -> list[Note]:
        """Return the notes of all voices."""
        return [note for part in self.parts for note in part]


def all_tunes(music21: Any) -> list[Tune]:
    """Return the tunes of all sources, in the order of their names' hashes: fixed, and shuffled."""
    corpus = Path(music21.__file__).parent / "corpus"
    tunes = [*(tune for source in ABC_SOURCES for tune in abc_tunes(corpus, source)), *chorales(corpus)]
    return sorted(tunes, key=lambda tune: hashlib.sha256(tune.name.encode()).digest())


def abc_tunes(corpus: Path, source: str) -> Iterator[Tune]:
    """Yield the tunes of one of `ABC_SOURCES` below the folder of music21's corpus."""
    for path in sorted((corpus / source).glob("*.abc")):
        for text in re.split(r"(?m)^(?=X:)", path.read_text(encoding="utf-8", errors="replace")):
            fields = {k: v.strip() for k, v in reversed(re.findall(r"(?m)^([XTRMK]):(.*)$", text))}
            # Modal tunes and remarks about a doubtful key do not match.
            key = re.fullmatch(r"([A-G])([#b]?)\s*(|maj|major|m|min|minor)", fields.get("K", ""), re.IGNORECASE)
            if key is None or not {"X", "T", "M"} <= fields.keys():
                continue
            tonic = "C D EF G A B".index(key[1].upper()) + {"": 0, "#": 1, "b": -1}[key[2]]
            yield Tune(
                name=f"{source}/{path.stem}-{int(re.sub(r'[^0-9]', '', fields['X']) or 0):04d}",
                source=source,
                title=re.sub(r"[^a-z]", "", fields["T"].split("--")[0].lower()),
                tonic=tonic % 12,
                mode="minor" if key[3].lower().startswith("m") and not key[3].lower().startswith("maj") else "major",
                metre={"C": "4/4", "C|": "2/2"}.get(fields["M"], fields["M"]),
                dance=fields.get("R", "").lower().replace("slipjig", "slip jig") or None,
                text=text,
            )


def chorales(corpus: Path) -> Iterator[Tune]:
    """Yield Bach's chorales below the folder of music21's corpus."""
    for path in sorted((corpus / CHORALES).glob("bwv*.mxl")):
        xml = musicxml_text(path)
        key = re.search(r"<fifths>(-?\d+)</fifths>\s*<mode>(major|minor)</mode>", xml)
        metre = re.search(r"<beats>(\d+)</beats>\s*<beat-type>(\d+)</beat-type>", xml)
        if key is not None and metre is not None:
            # Seven semitones a fifth; the relative minor lies three below.
            tonic = int(key[1]) * 7 - (3 if key[2] == "minor" else 0)
            yield Tune(
                name=f"{CHORALES}/{path.stem}",
                source=CHORALES,
                title=path.stem.split("-")[0],
                tonic=tonic % 12,
                mode=key[2],
                metre=f"{metre[1]}/{metre[2]}",
                dance="chorale",
                text=str(path),
            )


def tune_parts(tune: Tune, music21: Any, lines: list[float] | None = None) -> list[list[Note]]:
    """Return the notes of each voice, in quarter notes from the beginning; bar lines go to `lines`."""
    if tune.source == CHORALES:
        return musicxml_parts(Path(tune.text), lines)
    return [abc_notes(tune.text, music21, lines)]


def ends_on_tonic(notes: Sequence[Note], tonic: int) -> bool:
    """Return whether the lowest note of the end is the tonic; chorales in church modes are often notated otherwise."""
    last = max(end for _, end, _ in notes)
    return min(pitch for _, end, pitch in notes if end == last) % 12 == tonic


def read_score(tune: Tune, music21: Any) -> TuneScore:
    """Return the voices and the beats of a tune; beats are None where bars do not add up to one metre."""
    lines: list[float] = []
    parts = tune_parts(tune, music21, lines)
    text = musicxml_text(Path(tune.text)) if tune.source == CHORALES else tune.text
    if not any(parts) or len(set(re.findall(r"<beats>\d+</beats>\s*<beat-type>\d+|M: *[0-9C|/]+", text))) > 1:
        # Where the metre changes it is not known here which bars it is of.
        return TuneScore(parts, None)
    return TuneScore(parts, beats_of_bars(lines, max(end for part in parts for _, end, _ in part), tune.metre))


def melody_steps(score: TuneScore, count: int) -> set[tuple[int, ...]]:
    """Return every run of so many steps of the first voice, in semitones, which no transposition changes."""
    pitches = [pitch for _, _, pitch in (score.parts[0] if score.parts else [])]
    steps = [after - before for before, after in pairwise(pitches)]
    return {tuple(steps[place : place + count]) for place in range(len(steps) - count + 1)}


def abc_notes(text: str, music21: Any, lines: list[float] | None = None) -> list[Note]:
    """Read ABC through music21's tokens: twenty times faster than through its streams. Repeats are not played.

    Bar lines go to `lines`.
    """
    abc = music21.abcFormat
    notes: list[Note] = []
    now = 0.0
    try:
        tokens = abc.ABCFile().readstr(text).tokens
    except (abc.ABCHandlerException, abc.ABCTokenException):
        return []
    for token in tokens:
        if isinstance(token, abc.ABCBar) and lines is not None:
            lines.append(now)
        if not isinstance(token, abc.ABCNote | abc.ABCChord) or token.inGrace:
            continue
        length = float(token.quarterLength * (token.activeTuplet.tupletMultiplier() if token.activeTuplet else 1))
        heads = token.subTokens if isinstance(token, abc.ABCChord) else [token]
        heads = [head for head in heads if isinstance(head, abc.ABCNote)]
        notes += [(now, now + length, music21.pitch.Pitch(h.pitchName).midi) for h in heads if not h.isRest]
        now += length
    return notes
