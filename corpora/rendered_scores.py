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

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import soundfile

from audio_ssl.data.corpus import (
    Corpus,
    LeftOut,
    announce,
    atomic_write,
    hash_draw,
    hash_split,
    is_made,
    made_clips,
    midi,
    notes_column,
    optional_package,
    read_made,
    scores,
    time_columns,
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
VELOCITY = 96
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
Note = tuple[float, float, int]
"""Start and end in quarter notes, MIDI pitch."""

_LATER = {"beats", "notes", "chords"}
"""Columns that labels of older versions lack."""


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
    player = midi.Soundfont(optional_package("tinysoundfont", CORPUS, PIP), SAMPLE_RATE, PIP)
    rows: list[dict[str, Any]] = []
    left_out = LeftOut(CORPUS.name)
    candidates = _candidates(music21)
    for group, share in track(_SHARES.items(), "render scores"):
        wanted = round(share * clips)
        for tune in candidates[group]:
            if wanted == 0:
                break
            row = _arrange(tune)
            path = root / "audio" / f"{tune.name}.flac"
            if path.is_file() or _render(tune, row, player, path):
                rows.append({**row, **_columns(tune, row)})
                wanted -= 1
            else:
                left_out.add(tune.name, "too short, not readable, or not ending on its tonic")
    left_out.log()
    write_made(root, clips, rows)


def _arrange(tune: scores.Tune) -> dict[str, Any]:
    """Choose key, instrument and tempo of a tune by a hash of its name; return its row."""
    tonic = hash_draw(f"tonic/{tune.name}", 12)
    low, high = _QUARTERS_PER_MINUTE.get(tune.dance or "", _QUARTERS_PER_MINUTE.get(tune.metre, _OTHER_TEMPO))
    return {
        "name": tune.name,
        "label": f"{time_columns.ROOTS[tonic]} {tune.mode}",
        "split": hash_split(CORPUS.name, tune.title),
        "instrument": list(INSTRUMENTS)[hash_draw(f"instrument/{tune.name}", len(INSTRUMENTS))],
        "mode": tune.mode,
        "metre": tune.metre,
        "dance": tune.dance,
        "composer": "bach" if tune.source == scores.CHORALES else None,
        "quarters_per_minute": low + hash_draw(f"tempo/{tune.name}", high - low + 1),
        # To the nearest octave: from 6 semitones down to 5 up.
        "transposed": (tonic - tune.tonic + 6) % 12 - 6,
    }


def _candidates(music21: Any) -> dict[tuple[str, str], list[scores.Tune]]:
    """Return the tunes of each group in a fixed, shuffled order."""
    groups: dict[tuple[str, str], list[scores.Tune]] = {group: [] for group in _SHARES}
    for tune in scores.all_tunes(music21):
        groups[tune.source, tune.mode].append(tune)
    return groups


def _score(tune: scores.Tune) -> scores.TuneScore:
    return scores.read_score(tune, optional_package("music21", CORPUS, PIP))


def _played(notes: Sequence[Note], row: dict[str, Any]) -> list[Note]:
    """Return the notes that fit into a clip, transposed, with times in seconds."""
    per_quarter = 60 / row["quarters_per_minute"]
    return [
        (start * per_quarter, end * per_quarter, pitch + row["transposed"])
        for start, end, pitch in notes
        if end * per_quarter <= CLIP_SECONDS
    ]


def _columns(tune: scores.Tune, row: dict[str, Any]) -> dict[str, str | None]:
    """Return the columns `beats`, `notes` and `chords` of what is played; a single voice has no chords."""
    score, per_quarter = _score(tune), 60 / row["quarters_per_minute"]
    played, chords = _played(score.notes, row), None
    if tune.source == scores.CHORALES:
        # Once a note of some voice did not fit into the clip, what is left is not the harmony.
        missing = [start * per_quarter for start, end, _ in score.notes if end * per_quarter > CLIP_SECONDS]
        chords = time_columns.chords_of_notes(played, min(missing, default=None))
    last = max(end for _, end, _ in played)
    times = [(time * per_quarter, number) for time, number in score.beats or ()]
    text = " ".join(f"{time:.3f}/{number}" for time, number in times if time < last)
    return {"beats": text or None, "notes": notes_column(played), "chords": chords}


def _render(tune: scores.Tune, row: dict[str, Any], player: midi.Soundfont, path: Path) -> bool:
    """Play the beginning of a tune into a file; False if its key is in doubt or there is too little of it."""
    notes = _score(tune).notes
    if not notes or not scores.ends_on_tonic(notes, tune.tonic):
        return False
    played = _played(notes, row)
    if not played or max(end for _, end, _ in played) < SHORTEST_SECONDS:
        return False
    sound = player.play([(*note, VELOCITY) for note in played], INSTRUMENTS[row["instrument"]])
    with atomic_write(path) as partial:
        soundfile.write(partial, midi.with_peak(sound, 0.5), SAMPLE_RATE, format="FLAC")
    return True
