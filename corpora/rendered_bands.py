"""Rendered bands: fiddle tunes with an accompaniment and Bach chorales, played by several instruments of a soundfont.

A tune gets chords, one a bar or half bar by a simple rule from key and melody (`corpus_tools/arranging.py`), which an
instrument plays in one of four ways, mostly a bass and mostly drums. A chorale's voices are four different instruments.
Programs, tempo, key, tuning, touch and balance are drawn by a hash of the tune's name and the number of the rendering:
each tune has many different renderings, and the same packages give the same clips.

It is made for pretraining and for questions about mixtures: `notes` (all instruments but the drums), `chords` (what the
accompaniment plays, or the four voices make), `beats`, and the families of instruments as `tags`. A tune is in the
split in which `rendered_scores` has its title, so both have the same held-out tunes. A training tune that shares
sixteen steps of its melody with a held-out tune is left out, as a tune may have several titles. Tunes whose bars do not
add up are left out, as they cannot be accompanied.

Options of `fetch`, for a mix of corpora or from Python: `clips`, how many; `stems`, whether each instrument is written
by itself, too. The column `stems` then names the files (`melody FILE; chords FILE; ...`), which add up to the mixture.

Layout below the root, made by `fetch`::

    labels.json                     {"wanted": how many were asked for, "clips": rows}
    audio/SOURCE/TUNE-TAKE.flac     24 kHz mono, at most 21 s
    stems/SOURCE/TUNE-TAKE/PART.flac
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import soundfile

from audio_ssl.data.corpus import (
    Corpus,
    LeftOut,
    UserError,
    announce,
    arranging,
    atomic_folder,
    atomic_write,
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

T = TypeVar("T")

CORPUS = Corpus(
    name="rendered_bands",
    title="Rendered bands",
    description=(
        "Dance tunes with chords, bass and drums, and chorales for four instruments, to pretrain on and for notes, "
        "chords, beats and instruments in mixtures. Synthetic: one soundfont, and an accompaniment by rule."
    ),
    licence="BSD-3-Clause (music21); scores out of copyright, terms per file; soundfont GPL-2.0",
    citation=(
        "Cuthbert and Ariza 2010, music21: a toolkit for computer-aided musicology and symbolic music data, ISMIR. "
        "Ryan's Mammoth Collection transcribed by John Chambers and others, O'Neill's by the project of the same name."
    ),
    size="about 30 MB of packages to download; 2000 clips, 10.9 h, 1.2 GB, rendered in five minutes of a core",
    layout="labels.json and audio/SOURCE/TUNE-TAKE.flac, as `fetch` makes them",
    splits={
        "train": "about 80 % of the tunes, by a hash of the title, as rendered_scores has it",
        "valid": "about 10 % of the tunes, each rendered twice at most",
        "test": "about 10 % of the tunes, each rendered twice at most",
    },
    labels=(
        *("label", "tags", "instrument", "instruments", "mode", "metre", "dance", "composer", "quarters_per_minute"),
        *("transposed", "tuning_cents", "take", "track", "beats", "notes", "chords", "stems"),
    ),
    made=True,
    requires=("pip:music21", "pip:pretty_midi", "pip:tinysoundfont"),
)

SAMPLE_RATE = 24000
CLIP_SECONDS, SHORTEST_SECONDS = 20.0, 8.0
PIP = "pip install 'audio-ssl[corpora]' && pip install --no-deps tinysoundfont"
SCORES = "rendered_scores"
"""The corpus whose splits these are."""

FAMILIES = (
    *("piano", "chromatic percussion", "organ", "guitar", "bass", "strings", "ensemble", "brass"),
    *("reed", "pipe", "synth lead", "synth pad", "synth effects", "ethnic", "percussive", "sound effects"),
)
"""General MIDI's, eight programs each."""

MELODY = (
    *(0, 1, 2, 4, 5, 6, 7, 9, 11, 12, 13, 15, 16, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 40, 41, 42, 46, 48, 53),
    *(56, 57, 58, 59, 60, 61, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 79, 80, 81, 82, 104, 105, 106, 107),
    *(109, 110),
)
SLOW = (49, 51, 52, 88, 89, 90, 91, 94)
"""Programs that are heard only after a while: their chords are held, and none of them has a melody."""
CHORDS = (*range(8), 11, 16, *range(18, 22), *range(24, 29), 45, 46, *range(48, 53), 61, 88, 89, 90, 91, 94, 105, 106)
BASS = (*range(32, 40), 42, 43, 57, 58, 70, 87)
KITS = (0, 8, 16, 24, 25, 32, 40, 48)
VOICES = ("soprano", "alto", "tenor", "bass")

_TEMPI = {"chorale": (60, 105), "6/8": (120, 190), "9/8": (120, 190), "2/4": (70, 125)}
_OTHER_TEMPO = (85, 165)
_SAME_STEPS, _HELD_OUT_TAKES, _MOST_TAKES = 16, 2, 50


@dataclass(frozen=True)
class Voice:
    """What one instrument plays."""

    name: str
    program: int
    notes: list[midi.Played]
    drums: bool = False

    @property
    def family(self) -> str:
        """Return the family of its instrument."""
        return "drums" if self.drums else FAMILIES[self.program // 8]


@dataclass(frozen=True)
class Rendering:
    """A tune as it is to be played."""

    row: dict[str, Any]
    voices: list[Voice]
    seconds: float
    decibels: list[float]
    """Loudness of each voice, of its root mean square."""

    peak: float
    """The largest sample of the mixture."""


def read(root: Path, split: str | None = None, *, left_out: LeftOut) -> Iterator[Clip]:
    """Yield one clip a rendering.

    Raises
    ------
    UserError
        If nothing has been rendered below `root`.
    """
    for clip, row in made_clips(root, CORPUS, split, left_out):
        extra = {k: v for k, v in row.items() if k not in ("name", "label", "split", "tags")}
        folder = _stems(root, row)
        if folder.is_dir():
            names = (one.split(" ")[0] for one in row["instruments"].split("; "))
            extra["stems"] = "; ".join(f"{name} {folder / name}.flac" for name in names)
        yield replace(clip, label=row["label"], tags=tuple(row["tags"]), extra=extra)


def fetch(root: Path, clips: int = 2000, stems: bool = False) -> None:
    """Render the clips; those that are there already stay.

    Parameters
    ----------
    root
        Folder for the corpus.
    clips
        How many; the first rendering of every tune comes first, then the second. More of them begin with the same ones.
    stems
        Write each instrument by itself, too.

    Raises
    ------
    UserError
        If `clips` is not positive, or music21, pretty_midi or tinysoundfont is not installed.
    """
    if clips < 1:
        raise UserError(f"`clips` must be at least 1, but is {clips}")
    if is_made(root, clips) and (not stems or all(_stems(root, row).is_dir() for row in read_made(root, CORPUS))):
        return
    announce(CORPUS, root)
    player = midi.Soundfont(optional_package("tinysoundfont", CORPUS, PIP), SAMPLE_RATE, PIP)
    left_out = LeftOut(CORPUS.name)
    renderings = _renderings(left_out)
    rows = []
    for _ in track(range(clips), "render bands"):
        if (one := next(renderings, None)) is None:
            break
        path = root / "audio" / f"{one.row['name']}.flac"
        if not path.is_file() or (stems and not _stems(root, one.row).is_dir()):
            _render(one, player, path, _stems(root, one.row) if stems else None)
        rows.append(one.row)
    left_out.log()
    write_made(root, clips, rows)


def _stems(root: Path, row: dict[str, Any]) -> Path:
    return root / "stems" / str(row["name"])


def _renderings(left_out: LeftOut) -> Iterator[Rendering]:
    """Yield all tunes once, then again; those that are held out twice at most."""
    kept = []
    for tune, score, split in _tunes(left_out):
        kept.append((tune, score, split))
        yield _arrange(tune, score, split, 0)
    for take in range(1, _MOST_TAKES):
        for tune, score, split in kept:
            if take < _HELD_OUT_TAKES or split == "train":
                yield _arrange(tune, score, split, take)


def _tunes(left_out: LeftOut) -> Iterator[tuple[scores.Tune, scores.TuneScore, str]]:
    """Yield the tunes that can be played, in a fixed, shuffled order, each with its score and its split."""
    music21 = optional_package("music21", CORPUS, PIP)
    candidates = scores.all_tunes(music21)
    splits = {tune.name: hash_split(SCORES, tune.title) for tune in candidates}
    known = {tune.name: scores.read_score(tune, music21) for tune in candidates if splits[tune.name] != "train"}
    held_out = {steps for score in known.values() for steps in scores.melody_steps(score, _SAME_STEPS)}
    for tune in candidates:
        score = known.get(tune.name) or scores.read_score(tune, music21)
        split = splits[tune.name]
        if reason := _why_not(tune, score):
            left_out.add(tune.name, reason)
        elif split == "train" and not held_out.isdisjoint(scores.melody_steps(score, _SAME_STEPS)):
            left_out.add(tune.name, "its melody is held out under another title")
        else:
            yield tune, score, split


def _why_not(tune: scores.Tune, score: scores.TuneScore) -> str | None:
    if not score.notes or not scores.ends_on_tonic(score.notes, tune.tonic):
        return "not readable, or not ending on its tonic"
    if score.beats is None:
        return "its bars do not add up"
    if tune.source == scores.CHORALES and len(score.parts) != len(VOICES):
        return "not for four voices"
    if max(end for _, end, _ in score.notes) * 60 / _tempi(tune)[1] < SHORTEST_SECONDS:
        return "too short"
    return None


def _tempi(tune: scores.Tune) -> tuple[int, int]:
    return _TEMPI.get(tune.dance or "", _TEMPI.get(tune.metre, _OTHER_TEMPO))


def _arrange(tune: scores.Tune, score: scores.TuneScore, split: str, take: int) -> Rendering:
    """Draw how a tune is played, by a hash of its name and the number of the rendering."""
    digest = hashlib.sha256(f"{CORPUS.name}/{tune.name}/{take}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest, "big"))
    low, high = _tempi(tune)
    # Of what is in time even the fastest tempo leaves enough.
    length = max(end for _, end, _ in score.notes)
    high = min(high, int(length * 60 / SHORTEST_SECONDS))
    quarters_per_minute = int(random.integers(min(low, high), high + 1))
    tonic = int(random.integers(12))
    # To the nearest octave: from 6 semitones down to 5 up.
    transposed = (tonic - tune.tonic + 6) % 12 - 6
    played = _Played(60 / quarters_per_minute, transposed, random)
    make = _chorale if tune.source == scores.CHORALES else _accompanied
    voices, chords, end = make(tune, score, played)
    seconds = end * played.per_quarter
    beats = [(time * played.per_quarter, number) for time, number in score.beats or () if time < end]
    row = {
        "name": f"{tune.name}-{take}",
        "label": f"{time_columns.ROOTS[tonic]} {tune.mode}",
        "split": split,
        "tags": sorted({voice.family for voice in voices}),
        "instrument": voices[0].family,
        "instruments": "; ".join(f"{voice.name} {voice.program}" for voice in voices),
        "mode": tune.mode,
        "metre": tune.metre,
        "dance": tune.dance,
        "composer": "bach" if tune.source == scores.CHORALES else None,
        "quarters_per_minute": quarters_per_minute,
        "transposed": transposed,
        "tuning_cents": round(float(random.uniform(-30, 30)), 1),
        "take": take,
        "track": tune.title,
        "beats": " ".join(f"{time:.3f}/{number}" for time, number in beats),
        "notes": notes_column(note[:3] for voice in voices if not voice.drums for note in voice.notes),
        "chords": chords,
    }
    decibels = [float(random.uniform(-6 if place else -2, 0)) - 6 * voice.drums for place, voice in enumerate(voices)]
    return Rendering(row, voices, seconds, decibels, float(random.uniform(0.3, 0.9)))


class _Played:
    """Draws how a rendering is played, and puts what is written into seconds."""

    def __init__(self, per_quarter: float, transposed: int, random: np.random.Generator) -> None:
        self.per_quarter, self.transposed, self.random = per_quarter, transposed, random
        self.longest = CLIP_SECONDS / per_quarter
        self._late_seconds = float(random.uniform(0.0, 0.008))

    def one(self, choices: Sequence[T]) -> T:
        """Return one of some choices."""
        return choices[int(self.random.integers(len(choices)))]

    def perhaps(self, share: float) -> bool:
        """Return True in this share of the cases."""
        return bool(self.random.random() < share)

    def notes(self, strikes: Sequence[arranging.Strike], shift: int = 0) -> list[midi.Played]:
        """Return strikes as somebody plays them: with a touch of their own, a little early or late."""
        base, spread, held = self.random.uniform(60, 100), self.random.uniform(2, 10), self.random.uniform(0.75, 1.0)
        found = []
        for start, end, pitch, accent in strikes:
            late = self._late_seconds * float(self.random.standard_normal())
            begin = max(start * self.per_quarter + late, 0.0)
            finish = max(begin + (end - start) * self.per_quarter * held, begin + 0.03)
            velocity = base + 30 * (accent - 0.5) + spread * self.random.standard_normal()
            found.append((begin, finish, pitch + shift, int(np.clip(velocity, 20, 127))))
        return found


def _accompanied(tune: scores.Tune, score: scores.TuneScore, played: _Played) -> tuple[list[Voice], str, float]:
    """Return what the instruments of a tune play, its chords, and its end in quarter notes."""
    melody, beats = score.parts[0], score.beats or []
    starts = arranging.chord_starts(beats, halves=played.perhaps(0.5))
    end = max(finish for _, finish, _ in melody)
    closes = end <= played.longest
    if not closes:
        # The accompaniment ends with a bar, and so does the melody.
        end = max([time for time, number in beats if number == 1 and time <= played.longest], default=played.longest)
    melody = [(start, min(finish, end), pitch) for start, finish, pitch in melody if start < end - 1e-6]
    beats, starts = [beat for beat in beats if beat[0] < end - 1e-6], [time for time in starts if time < end - 1e-6]
    harmonies = arranging.harmonise(
        melody, starts, end, tune.tonic, tune.mode, closes=closes, sevenths=played.perhaps(0.4)
    )
    divisions = 3 if tune.metre in ("6/8", "9/8", "12/8") else 2
    down = {round(time, 3) for time, number in beats if number == 1}
    sung = [(start, finish, pitch, 0.9 if round(start, 3) in down else 0.5) for start, finish, pitch in melody]
    middle = float(np.mean([pitch for _, _, pitch in melody])) + played.transposed
    octave = played.one([12 * step for step in (-1, 0, 1) if 55 <= middle + 12 * step <= 86] or [0])
    voices = [Voice("melody", played.one(MELODY), played.notes(sung, played.transposed + octave))]
    how, program, lowest = played.one(arranging.COMPING), played.one(CHORDS), played.one((48, 52, 55, 60))
    how = "held" if program in SLOW else how
    chords = arranging.comping(harmonies, beats, divisions, how, lowest - played.transposed)
    voices.append(Voice("chords", program, played.notes(chords, played.transposed)))
    if played.perhaps(0.85):
        line = arranging.bass_line(
            harmonies, beats, played.one(arranging.BASSES), played.one((28, 31, 33)) - played.transposed
        )
        voices.append(Voice("bass", played.one(BASS), played.notes(line, played.transposed)))
    if played.perhaps(0.75):
        drums = arranging.drum_beat(
            [beat for beat in beats if not starts or beat[0] >= starts[0]], end, divisions, played.one(arranging.RIDES)
        )
        voices.append(Voice("drums", played.one(KITS), played.notes(drums), drums=True))
    spans = [(one.start, one.end, one.label(played.transposed)) for one in harmonies]
    spans = [(0.0, starts[0], "N"), *spans] if starts and starts[0] > 0 else spans
    return (
        voices,
        time_columns.chords_column((a * played.per_quarter, b * played.per_quarter, name) for a, b, name in spans),
        end,
    )


def _chorale(tune: scores.Tune, score: scores.TuneScore, played: _Played) -> tuple[list[Voice], str, float]:
    """Return what the four instruments of a chorale play, its chords, and its end in quarter notes."""
    programs: list[int] = []
    while len(programs) < len(VOICES):
        program = played.one(MELODY)
        if program // 8 not in {other // 8 for other in programs}:
            programs.append(program)
    voices, heard = [], []
    for name, program, part in zip(VOICES, programs, score.parts, strict=True):
        inside = [note for note in part if note[1] <= played.longest]
        heard += inside
        voices.append(Voice(name, program, played.notes([(*note, 0.5) for note in inside], played.transposed)))
    missing = [start * played.per_quarter for start, end, _ in score.notes if end > played.longest]
    sounding = [(a * played.per_quarter, b * played.per_quarter, pitch + played.transposed) for a, b, pitch in heard]
    chords = time_columns.chords_of_notes(sounding, min(missing, default=None))
    return voices, chords, max(end for _, end, _ in heard)


def _render(one: Rendering, player: midi.Soundfont, path: Path, stems: Path | None) -> None:
    """Play every voice, and write the mixture and, where asked for, the voices, which add up to it."""
    tuning = one.row["tuning_cents"] / 100
    seconds = one.seconds + midi.RELEASE_SECONDS
    sounds = []
    for voice, decibels in zip(one.voices, one.decibels, strict=True):
        sound = player.play(voice.notes, voice.program, drums=voice.drums, tuning=tuning, seconds=seconds)
        loudness = float(np.sqrt(np.mean(np.square(sound)))) or 1.0
        sounds.append(sound * (10 ** (decibels / 20) / loudness))
    scale = one.peak / max(float(np.abs(np.sum(sounds, axis=0)).max()), 1e-6)
    if stems is not None:
        # Complete or not there: its presence says that they are written.
        with atomic_folder(stems) as partial:
            for voice, sound in zip(one.voices, sounds, strict=True):
                _write(partial / f"{voice.name}.flac", sound * scale)
    with atomic_write(path) as partial:
        _write(partial, np.sum(sounds, axis=0) * scale)


def _write(path: Path, samples: npt.NDArray[np.float32]) -> None:
    soundfile.write(path, samples.astype(np.float32), SAMPLE_RATE, format="FLAC")
