"""Rendered scores: fiddle tunes and Bach chorales from music21's corpus, played by a General MIDI soundfont.

Key, mode, metre, tempo and instrument are exact, because the score says them: the tunes are those of Ryan's Mammoth
Collection (1883) and O'Neill's Music of Ireland (1850 melodies, 1903) whose header names a major or a minor key, the
chorales those whose MusicXML names the mode; both must end on their tonic, since minor signatures are used for church
modes too. Modal tunes are left out, as Palestrina is. Beats come from the bar lines, for scores whose bars add up. The
column `notes` has every note that is played (`start end midi; ...`, seconds), `chords` those that the voices of a
chorale make (`start end label; ...`, Harte's syntax, slice by slice, ``X`` where passing notes make none). Each tune is
transposed to a tonic drawn by a hash of its name, so all 24 keys are about equally frequent; instrument and tempo
likewise.

The scores come with the package music21, the soundfont TimGM6mb (Tim Brechbill) with pretty_midi, and tinysoundfont
renders; all three are found where pip put them, nothing else is downloaded. Nothing is random: the same packages give
the same clips.

Layout below the root, made by `fetch`::

    labels.json             {"wanted": how many were asked for, "clips": rows}
    audio/SOURCE/TUNE.flac  24 kHz mono, at most 13 s
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from audio_ssl.data.corpus import (
    Corpus,
    LeftOut,
    UserError,
    announce,
    atomic_write,
    beats_of_bars,
    chords_of_notes,
    hash_split,
    is_made,
    made_clips,
    musicxml_notes,
    musicxml_text,
    notes_column,
    optional_package,
    read_made,
    track,
    write_made,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="rendered_scores",
    title="Rendered scores",
    description=(
        "Dance tunes (one voice) and chorales (four voices) for key detection and tagging with exact labels. "
        "Synthetic: one soundfont, no expression, so scores on it say what a representation holds of pitch, not how it "
        "does on records. Key profiles (Krumhansl and Kessler 1982) get 74 % of the keys from the notes themselves."
    ),
    licence="BSD-3-Clause (music21); scores out of copyright, terms per file; soundfont GPL-2.0",
    citation=(
        "Cuthbert and Ariza 2010, music21: a toolkit for computer-aided musicology and symbolic music data, ISMIR. "
        "Ryan's Mammoth Collection transcribed by John Chambers and others, O'Neill's by the project of the same name."
    ),
    size="about 30 MB of packages to download; 593 clips, 127 min, 197 MB, rendered in about half a minute on one core",
    layout="labels.json and audio/SOURCE/TUNE.flac, as `fetch` makes them",
    splits={
        "train": "about 80 % of the tunes, by a hash of the title; tunes of one title go together",
        "valid": "about 10 % of the tunes",
        "test": "about 10 % of the tunes",
    },
    labels=(
        *("label", "tags", "instrument", "mode", "metre", "dance", "composer", "quarters_per_minute", "transposed"),
        *("beats", "notes", "chords"),
    ),
    made=True,
    requires=("pip:music21", "pip:pretty_midi", "pip:tinysoundfont"),
)

SAMPLE_RATE = 24000
CLIP_SECONDS = 12.0
SHORTEST_SECONDS = 6.0
RELEASE_SECONDS = 1.0
PIP = "pip install 'audio-ssl[corpora]' && pip install --no-deps tinysoundfont"

INSTRUMENTS = {
    "piano": 0,
    "harpsichord": 6,
    "vibraphone": 11,
    "organ": 19,
    "accordion": 21,
    "guitar": 24,
    "violin": 40,
    "strings": 48,
    "trumpet": 56,
    "clarinet": 71,
    "flute": 73,
    "recorder": 74,
}
"""Name -> General MIDI program, counted from 0."""

TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
"""One spelling a pitch class, in either mode, which mir_eval reads."""

# Shares of the clips. Major and minor are equal within chorales and within tunes: style does not give the mode away.
_SHARES = {
    ("bach", "major"): 1 / 6,
    ("bach", "minor"): 1 / 6,
    ("oneills1850", "major"): 1 / 4,
    ("oneills1850", "minor"): 1 / 4,
    ("ryansMammoth", "major"): 1 / 12,
    ("ryansMammoth", "minor"): 1 / 12,
}
_QUARTERS_PER_MINUTE = {"chorale": (70, 95), "6/8": (140, 180), "9/8": (140, 180), "2/4": (85, 115)}
_OTHER_TEMPO = (105, 150)
_LATER = {"beats", "notes", "chords"}
"""Columns that labels of older versions lack."""

Note = tuple[float, float, int]
"""Start and end in quarter notes, MIDI pitch."""


@dataclass(frozen=True)
class Tune:
    """One score, before it is transposed."""

    name: str
    source: str
    title: str
    tonic: int
    mode: str
    metre: str
    dance: str | None
    text: str
    """ABC, or the path of a MusicXML file."""


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a tune.

    Raises
    ------
    UserError
        If nothing has been rendered below `root`.
    """
    for clip, row in made_clips(root, CORPUS, split, left_out):
        tags = (row["instrument"], row["mode"], row["metre"], row["dance"], row["composer"])
        yield replace(
            clip,
            label=row["label"],
            tags=tuple(t for t in tags if t),
            extra={k: v for k, v in row.items() if k not in ("name", "label", "split")},
        )


def fetch(root: Path, clips: int = 600) -> None:
    """Render the clips; those that are there already stay.

    Parameters
    ----------
    root
        Folder for the corpus.
    clips
        How many, at most about 1500.

    Raises
    ------
    UserError
        If music21, pretty_midi or tinysoundfont is not installed.
    """
    # Labels of older versions lack some columns; the audio is the same.
    if is_made(root, clips) and all(row.keys() >= _LATER for row in read_made(root, CORPUS)):
        return
    announce(CORPUS, root)
    music21 = optional_package("music21", CORPUS, PIP)
    player = _Player()
    rows: list[dict[str, Any]] = []
    left_out = LeftOut(CORPUS.name)
    candidates = _candidates(Path(music21.__file__).parent / "corpus")
    for group, share in track(_SHARES.items(), "render scores"):
        wanted = round(share * clips)
        for tune in candidates[group]:
            if wanted == 0:
                break
            row = _arrange(tune)
            path = root / "audio" / f"{tune.name}.flac"
            if path.is_file() or _render(tune, row, player, path):
                rows.append({**row, "beats": _beats(tune, row), **_sounding(tune, row)})
                wanted -= 1
            else:
                left_out.add(tune.name, "too short, not readable, or not ending on its tonic")
    left_out.log()
    write_made(root, clips, rows)


def _arrange(tune: Tune) -> dict[str, Any]:
    """Choose key, instrument and tempo of a tune by a hash of its name; return its row."""
    tonic = _draw(tune.name, "tonic", 12)
    low, high = _QUARTERS_PER_MINUTE.get(tune.dance or "", _QUARTERS_PER_MINUTE.get(tune.metre, _OTHER_TEMPO))
    return {
        "name": tune.name,
        "label": f"{TONICS[tonic]} {tune.mode}",
        "split": hash_split(CORPUS.name, tune.title),
        "instrument": list(INSTRUMENTS)[_draw(tune.name, "instrument", len(INSTRUMENTS))],
        "mode": tune.mode,
        "metre": tune.metre,
        "dance": tune.dance,
        "composer": "bach" if tune.source == "bach" else None,
        "quarters_per_minute": low + _draw(tune.name, "tempo", high - low + 1),
        # To the nearest octave: from 6 semitones down to 5 up.
        "transposed": (tonic - tune.tonic + 6) % 12 - 6,
    }


def _draw(name: str, what: str, choices: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{what}/{name}".encode()).digest()[:8], "big") % choices


def _candidates(corpus: Path) -> dict[tuple[str, str], list[Tune]]:
    """Return the tunes of each group in a fixed, shuffled order."""
    groups: dict[tuple[str, str], list[Tune]] = {group: [] for group in _SHARES}
    for tune in (*_abc_tunes(corpus, "ryansMammoth"), *_abc_tunes(corpus, "oneills1850"), *_chorales(corpus)):
        groups[tune.source, tune.mode].append(tune)
    for tunes in groups.values():
        tunes.sort(key=lambda t: hashlib.sha256(t.name.encode()).digest())
    return groups


def _abc_tunes(corpus: Path, source: str) -> Iterator[Tune]:
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


def _chorales(corpus: Path) -> Iterator[Tune]:
    for path in sorted((corpus / "bach").glob("bwv*.mxl")):
        xml = musicxml_text(path)
        key = re.search(r"<fifths>(-?\d+)</fifths>\s*<mode>(major|minor)</mode>", xml)
        metre = re.search(r"<beats>(\d+)</beats>\s*<beat-type>(\d+)</beat-type>", xml)
        if key is not None and metre is not None:
            # Seven semitones a fifth; the relative minor lies three below.
            tonic = int(key[1]) * 7 - (3 if key[2] == "minor" else 0)
            yield Tune(
                name=f"bach/{path.stem}",
                source="bach",
                title=path.stem.split("-")[0],
                tonic=tonic % 12,
                mode=key[2],
                metre=f"{metre[1]}/{metre[2]}",
                dance="chorale",
                text=str(path),
            )


def _notes(tune: Tune) -> list[Note]:
    """Return the notes of the score, in quarter notes from the beginning."""
    return musicxml_notes(Path(tune.text)) if tune.source == "bach" else _abc_notes(tune.text)


def _ends_on_tonic(notes: Sequence[Note], tonic: int) -> bool:
    """Return whether the lowest note of the end is the tonic; chorales in church modes are often notated otherwise."""
    last = max(end for _, end, _ in notes)
    return min(pitch for _, end, pitch in notes if end == last) % 12 == tonic


def _beats(tune: Tune, row: dict[str, Any]) -> str | None:
    """Return the beats of what is played, with their numbers in the bar; None if bars do not add up to one metre."""
    text = musicxml_text(Path(tune.text)) if tune.source == "bach" else tune.text
    if len(set(re.findall(r"<beats>\d+</beats>\s*<beat-type>\d+|M: *[0-9C|/]+", text))) > 1:
        # The metre changes, and which bars it is of is not known here.
        return None
    lines: list[float] = []
    notes = musicxml_notes(Path(tune.text), lines) if tune.source == "bach" else _abc_notes(tune.text, lines)
    beats = beats_of_bars(lines, max(end for _, end, _ in notes), tune.metre)
    per_quarter = 60 / row["quarters_per_minute"]
    last = max(end for _, end, _ in _played(notes, row))
    times = [(time * per_quarter, number) for time, number in beats or ()]
    return " ".join(f"{time:.3f}/{number}" for time, number in times if time < last) or None


def _sounding(tune: Tune, row: dict[str, Any]) -> dict[str, str | None]:
    """Return the columns `notes` and `chords` of what is played; a single voice has no chords."""
    notes, per_quarter = _notes(tune), 60 / row["quarters_per_minute"]
    played, chords = _played(notes, row), None
    if tune.source == "bach":
        # Once a note of some voice did not fit into the clip, what is left is not the harmony.
        missing = [start * per_quarter for start, end, _ in notes if end * per_quarter > CLIP_SECONDS]
        chords = chords_of_notes(played, min(missing, default=None))
    return {"notes": notes_column(played), "chords": chords}


def _abc_notes(text: str, lines: list[float] | None = None) -> list[Note]:
    """Read ABC through music21's tokens: twenty times faster than through its streams. Repeats are not played.

    Bar lines go to `lines`.
    """
    music21 = optional_package("music21", CORPUS, PIP)
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


def _played(notes: Sequence[Note], row: dict[str, Any]) -> list[Note]:
    """Return the notes that fit into a clip, transposed, with times in seconds."""
    per_quarter = 60 / row["quarters_per_minute"]
    return [
        (start * per_quarter, end * per_quarter, pitch + row["transposed"])
        for start, end, pitch in notes
        if end * per_quarter <= CLIP_SECONDS
    ]


def _render(tune: Tune, row: dict[str, Any], player: _Player, path: Path) -> bool:
    """Play the beginning of a tune into a file; False if its key is in doubt or there is too little of it."""
    notes = _notes(tune)
    if not notes or not _ends_on_tonic(notes, tune.tonic):
        return False
    played = _played(notes, row)
    if not played or max(end for _, end, _ in played) < SHORTEST_SECONDS:
        return False
    samples = player.play(played, INSTRUMENTS[row["instrument"]])
    with atomic_write(path) as partial:
        soundfile.write(partial, samples, SAMPLE_RATE, format="FLAC")
    return True


class _Player:
    """A soundfont and the synthesiser that plays it."""

    def __init__(self) -> None:
        self._tinysoundfont = optional_package("tinysoundfont", CORPUS, PIP)
        spec = importlib.util.find_spec("pretty_midi")
        if spec is None or spec.origin is None:
            raise UserError(f"the corpus `{CORPUS.name}` needs the package pretty_midi", remedy=PIP)
        self._soundfont = str(Path(spec.origin).parent / "TimGM6mb.sf2")

    def play(self, notes: Sequence[Note], program: int) -> npt.NDArray[np.float32]:
        """Return mono samples with a peak of 0.5; times of `notes` are in seconds."""
        # A fresh synthesiser each time: no voice of the last tune rings on, so the order of tunes changes nothing.
        synth = self._tinysoundfont.Synth(samplerate=SAMPLE_RATE)
        synth.program_select(0, synth.sfload(self._soundfont), 0, program)
        # At the same time a note ends before the next begins (False < True).
        events = [(round(end * SAMPLE_RATE), False, pitch) for _, end, pitch in notes]
        events += [(round(start * SAMPLE_RATE), True, pitch) for start, _, pitch in notes]
        blocks, now = [], 0
        for at, starts, pitch in sorted(events):
            if at > now:
                blocks.append(_generate(synth, at - now))
                now = at
            if starts:
                synth.noteon(0, pitch, 96)
            else:
                synth.noteoff(0, pitch)
        blocks.append(_generate(synth, round(RELEASE_SECONDS * SAMPLE_RATE)))
        mono = np.concatenate(blocks).mean(axis=1, dtype=np.float32)
        return np.asarray(mono * (0.5 / max(float(np.abs(mono).max()), 1e-6)), dtype=np.float32)


def _generate(synth: Any, samples: int) -> npt.NDArray[np.float32]:
    return np.frombuffer(bytes(synth.generate(samples)), np.float32).reshape(-1, 2)
