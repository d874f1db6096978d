"""Reads scores of music21's corpus that name their key, and derives beats from bar lines.

The scores are the tunes of Ryan's Mammoth Collection and O'Neill's Music of Ireland (ABC) whose header names a major or
minor key, and those of Bach's chorales (compressed MusicXML) that name the mode. Notes are read without music21's
streams, which are twenty times slower.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ABC_SOURCES = ("ryansMammoth", "oneills1850")
CHORALES = "bach"


@dataclass(frozen=True)
class Tune:
    """A score before transposition."""

    name: str
    source: str
    title: str
    """Title in lower case without spaces. Tunes with the same title belong together."""

    tonic: int
    """Pitch class, C is 0."""

    mode: str
    metre: str
    dance: str | None
    text: str
    """ABC text, or path of a MusicXML file."""


@dataclass(frozen=True)
class TuneScore:
    """The content of a tune. Times are quarter notes from the beginning."""

    parts: list[list[Note]]
    """Notes of each voice."""

    beats: list[tuple[float, int]] | None
    """Times of the beats and their numbers in the bar; None if the bars do not fit one metre."""

    @property
    def notes(self) -> list[Note]:
        """Return the notes of all voices."""
        return [note for part in self.parts for note in part]


def all_tunes(music21: Any) -> list[Tune]:
    """Return the tunes of all sources in a fixed random order, by the hashes of their names."""
    corpus = Path(music21.__file__).parent / "corpus"
    tunes = [*(tune for source in ABC_SOURCES for tune in abc_tunes(corpus, source)), *chorales(corpus)]
    return sorted(tunes, key=lambda tune: hashlib.sha256(tune.name.encode()).digest())


def abc_tunes(corpus: Path, source: str) -> Iterator[Tune]:
    """Yield the tunes of one of `ABC_SOURCES` in the folder of music21's corpus."""
    for path in sorted((corpus / source).glob("*.abc")):
        for text in re.split(r"(?m)^(?=X:)", path.read_text(encoding="utf-8", errors="replace")):
            fields = {k: v.strip() for k, v in reversed(re.findall(r"(?m)^([XTRMK]):(.*)$", text))}
            # Modal tunes and remarks on a doubtful key do not match.
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
    """Yield Bach's chorales in the folder of music21's corpus."""
    for path in sorted((corpus / CHORALES).glob("bwv*.mxl")):
        xml = musicxml_text(path)
        key = re.search(r"<fifths>(-?\d+)</fifths>\s*<mode>(major|minor)</mode>", xml)
        metre = re.search(r"<beats>(\d+)</beats>\s*<beat-type>(\d+)</beat-type>", xml)
        if key is not None and metre is not None:
            # A fifth has seven semitones; the relative minor is three semitones below.
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
    """Return the notes of each voice, in quarter notes from the beginning. Bar lines are appended to `lines`."""
    if tune.source == CHORALES:
        return musicxml_parts(Path(tune.text), lines)
    return [abc_notes(tune.text, music21, lines)]


def ends_on_tonic(notes: Sequence[Note], tonic: int) -> bool:
    """Return whether the lowest note at the end is the tonic, which excludes most chorales in church modes."""
    last = max(end for _, end, _ in notes)
    return min(pitch for _, end, pitch in notes if end == last) % 12 == tonic


def read_score(tune: Tune, music21: Any) -> TuneScore:
    """Return the voices and beats of a tune. Beats are None if the bars do not fit one metre."""
    lines: list[float] = []
    parts = tune_parts(tune, music21, lines)
    text = musicxml_text(Path(tune.text)) if tune.source == CHORALES else tune.text
    if not any(parts) or len(set(re.findall(r"<beats>\d+</beats>\s*<beat-type>\d+|M: *[0-9C|/]+", text))) > 1:
        # If the metre changes, it is unknown which bars have which metre.
        return TuneScore(parts, None)
    return TuneScore(parts, beats_of_bars(lines, max(end for part in parts for _, end, _ in part), tune.metre))


def melody_steps(score: TuneScore, count: int) -> set[tuple[int, ...]]:
    """Return all sequences of `count` intervals of the first voice, which do not depend on the key."""
    pitches = [pitch for _, _, pitch in (score.parts[0] if score.parts else [])]
    steps = [after - before for before, after in pairwise(pitches)]
    return {tuple(steps[place : place + count]) for place in range(len(steps) - count + 1)}


def abc_notes(text: str, music21: Any, lines: list[float] | None = None) -> list[Note]:
    """Read ABC by music21's tokens, twenty times faster than by its streams. Repeats are not expanded.

    Bar lines are appended to `lines`.
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


Note = tuple[float, float, int]
"""Start and end in quarter notes, MIDI pitch."""


def musicxml_text(path: Path) -> str:
    """Return the score in an .mxl archive."""
    with zipfile.ZipFile(path) as file:
        name = next(name for name in file.namelist() if not name.startswith("META-INF"))
        return file.read(name).decode("utf-8", "replace")


def musicxml_parts(path: Path, lines: list[float] | None = None) -> list[list[Note]]:
    """Return the notes of each part, 15 times faster than by music21's streams; bar lines are appended to `lines`."""
    score = ElementTree.fromstring(musicxml_text(path))
    parts: list[list[Note]] = []
    for part in score.iter("part"):
        notes: list[Note] = []
        parts.append(notes)
        now = chord_start = 0.0
        per_quarter = 1.0
        tied: dict[int, int] = {}
        for element in part.iter():
            if element.tag == "divisions":
                per_quarter = float(element.text or 1)
            elif element.tag == "measure" and lines is not None:
                lines.append(now)
            elif element.tag in ("backup", "forward"):
                sign = 1 if element.tag == "forward" else -1
                now += sign * float(element.findtext("duration", "0")) / per_quarter
            elif element.tag == "note" and element.find("grace") is None:
                length = float(element.findtext("duration", "0")) / per_quarter
                if element.find("chord") is None:
                    chord_start, now = now, now + length
                _add_note(notes, element, chord_start, length, tied)
    return parts


def _add_note(
    notes: list[Note], element: ElementTree.Element, start: float, length: float, tied: dict[int, int]
) -> None:
    """Append a MusicXML note, or lengthen the note it is tied to (`tied`: pitch to the index of its last note)."""
    pitch = element.find("pitch")
    if pitch is None:
        return
    step = "C D EF G A B".index(pitch.findtext("step", "C"))
    midi = 12 * (int(pitch.findtext("octave", "4")) + 1) + step + int(float(pitch.findtext("alter", "0")))
    if midi in tied and any(tie.get("type") == "stop" for tie in element.findall("tie")):
        notes[tied[midi]] = (notes[tied[midi]][0], start + length, midi)
    else:
        tied[midi] = len(notes)
        notes.append((start, start + length, midi))


_CLOSE = 1e-6


def beats_of_bars(lines: Iterable[float], end: float, metre: str) -> list[tuple[float, int]] | None:
    """Return the beats of a score with their numbers in the bar, from 1; None if the bars do not fit the metre.

    Parameters
    ----------
    lines
        Bar lines in quarter notes from the beginning, in any order; they may appear more than once.
    end
        End of the score.
    metre
        Metre, such as ``6/8``. In 6/8, 9/8 and 12/8 a beat has three eighths; else the lower number is the beat.

    Notes
    -----
    A short first bar is an upbeat whose beats are numbered from the end of the bar. Two short bars that make one bar,
    as at repeats, are one bar. The last bar may be short.

    Examples
    --------
    >>> beats_of_bars([1.0, 4.0], 5.0, "3/4")
    [(0.0, 3), (1.0, 1), (2.0, 2), (3.0, 3), (4.0, 1)]
    """
    count, lower = (int(number) for number in metre.split("/"))
    full, beat = 4 * count / lower, 4 / lower
    if lower == 8 and count in (6, 9, 12):
        beat *= 3
    starts = _bar_starts(_distinct([0.0, *(line for line in lines if 0 < line < end), end]), full)
    if starts is None:
        return None
    beats = [(start + place * beat, place + 1) for start in starts for place in range(round(full / beat))]
    return [(max(time, 0.0), number) for time, number in beats if -_CLOSE < time < end - _CLOSE]


def _distinct(lines: Sequence[float]) -> list[float]:
    kept: list[float] = []
    for line in sorted(lines):
        if not kept or line - kept[-1] > _CLOSE:
            kept.append(line)
    return kept


def _bar_starts(lines: Sequence[float], full: float) -> list[float] | None:
    """Return the starts of bars, the first possibly before 0; None if a bar is neither full nor two short ones."""
    starts: list[float] = []
    if len(lines) > 2 and lines[1] < full - _CLOSE:
        starts, lines = [lines[1] - full], lines[1:]
    begin = lines[0]
    for line in lines[1:]:
        if line - begin > full + _CLOSE:
            return None
        if line - begin > full - _CLOSE or line == lines[-1]:
            starts.append(begin)
            begin = line
    return starts
