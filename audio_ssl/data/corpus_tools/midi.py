"""Reads notes of MIDI files, with the sustain pedal of a piano, and renders notes to audio.

Notes are rendered by tinysoundfont with the General MIDI soundfont TimGM6mb, which comes with pretty_midi.
"""

from __future__ import annotations

import importlib.util
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.data.time_columns import Sounding

_SUSTAIN, _DOWN = 64, 64
"""Controller of the sustain pedal, and the value from which on it is down."""


def midi_notes(path: Path, pretty_midi: Any) -> list[Sounding]:
    """Return the notes of all instruments except drums.

    Raises
    ------
    AudioError
        If the file cannot be read.
    """
    try:
        file = pretty_midi.PrettyMIDI(str(path))
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise AudioError(f"the MIDI file {path.name} cannot be read: {error}") from error
    found: list[Sounding] = []
    for instrument in file.instruments:
        if not instrument.is_drum:
            notes = [(float(note.start), float(note.end), int(note.pitch)) for note in instrument.notes]
            changes = [(float(c.time), int(c.value)) for c in instrument.control_changes if c.number == _SUSTAIN]
            found += sustained(notes, changes)
    return sorted(found)


def sustained(notes: Sequence[Sounding], pedal: Iterable[tuple[float, int]]) -> list[Sounding]:
    """Return notes that are prolonged by the sustain pedal, as is usual (Hawthorne et al. 2018).

    A note whose key is released while the pedal is down (64 or more) lasts until the pedal is up or the key is struck
    again. Half pedalling is ignored.

    Parameters
    ----------
    notes
        Start and end of the key in seconds, MIDI pitch.
    pedal
        Time and value of each pedal event.

    Examples
    --------
    >>> sustained([(0.0, 0.5, 60), (0.0, 0.5, 64), (1.0, 1.5, 60)], [(0.2, 127), (1.8, 0)])
    [(0.0, 1.0, 60), (0.0, 1.8, 64), (1.0, 1.8, 60)]
    """
    downs: list[tuple[float, float]] = []
    since: float | None = None
    for second, value in sorted(pedal):
        if value >= _DOWN and since is None:
            since = second
        elif value < _DOWN and since is not None:
            downs.append((since, second))
            since = None
    last = max((end for _, end, _ in notes), default=0.0)
    if since is not None:
        # The pedal is never released: until the last key is.
        downs.append((since, max(last, since)))
    struck: dict[int, list[float]] = {}
    for start, _, pitch in sorted(notes):
        struck.setdefault(pitch, []).append(start)
    found = []
    place = 0
    for start, end, pitch in sorted(notes, key=lambda note: note[1]):
        while place < len(downs) and downs[place][1] <= end:
            place += 1
        held = place < len(downs) and downs[place][0] <= end
        until = downs[place][1] if held else end
        later = bisect_right(struck[pitch], start)
        again = struck[pitch][later] if later < len(struck[pitch]) else until
        found.append((start, min(until, again), pitch))
    return sorted(found)


def notes_within(notes: Iterable[Sounding], start: float, end: float) -> list[Sounding]:
    """Return the notes between two times, relative to the first. A note that began before starts at 0."""
    return [
        (max(begin, start) - start, min(finish, end) - start, pitch)
        for begin, finish, pitch in notes
        if begin < end and finish > start
    ]


Samples = npt.NDArray[np.float32]

Played = tuple[float, float, int, int]
"""Start and end in seconds, MIDI pitch, velocity from 1 to 127."""

RELEASE_SECONDS = 1.0
"""Seconds that are rendered after the end of the last note."""

_DRUMS_BANK = 128


class Soundfont:
    """The soundfont with its synthesiser.

    Parameters
    ----------
    tinysoundfont
        The package.
    sample_rate
        Sample rate of the audio, in Hz.
    install
        Command that installs the packages.

    Raises
    ------
    UserError
        If pretty_midi is not installed.
    """

    def __init__(self, tinysoundfont: Any, sample_rate: int, install: str) -> None:
        self._tinysoundfont, self.sample_rate = tinysoundfont, sample_rate
        spec = importlib.util.find_spec("pretty_midi")
        if spec is None or spec.origin is None:
            raise UserError("the soundfont comes with the package pretty_midi, which is not installed", remedy=install)
        self._path = str(Path(spec.origin).parent / "TimGM6mb.sf2")

    def play(
        self,
        notes: Sequence[Played],
        program: int,
        *,
        drums: bool = False,
        tuning: float = 0.0,
        seconds: float | None = None,
    ) -> Samples:
        """Return the mono audio of one instrument.

        Parameters
        ----------
        notes
            The notes.
        program
            General MIDI program or drum kit, from 0.
        drums
            Whether pitches are drums of a kit.
        tuning
            Tuning in semitones relative to 440 Hz.
        seconds
            Length; None: to one second after the end of the last note.
        """
        # A new synthesiser each time: no voice of the last tune rings on, so the order of tunes does not matter.
        synth = self._tinysoundfont.Synth(samplerate=self.sample_rate)
        synth.program_select(0, synth.sfload(self._path), _DRUMS_BANK if drums else 0, program, drums)
        if tuning:
            synth.set_tuning(0, tuning)
        # At the same time, ends (velocity 0) come before starts.
        events = [(round(end * self.sample_rate), 0, pitch) for _, end, pitch, _ in notes]
        events += [(round(start * self.sample_rate), velocity, pitch) for start, _, pitch, velocity in notes]
        blocks, now = [], 0
        for at, velocity, pitch in sorted(events):
            if at > now:
                blocks.append(_generate(synth, at - now))
                now = at
            if velocity:
                synth.noteon(0, pitch, velocity)
            else:
                synth.noteoff(0, pitch)
        length = round(seconds * self.sample_rate) if seconds is not None else now + self._release
        blocks.append(_generate(synth, max(length - now, 0)))
        return np.asarray(np.concatenate(blocks)[:length].mean(axis=1, dtype=np.float32), dtype=np.float32)

    @property
    def _release(self) -> int:
        return round(RELEASE_SECONDS * self.sample_rate)


def with_peak(samples: Samples, peak: float) -> Samples:
    """Return samples scaled to the maximum `peak`; silence stays silence."""
    return np.asarray(samples * (peak / max(float(np.abs(samples).max(initial=0.0)), 1e-6)), dtype=np.float32)


def _generate(synth: Any, samples: int) -> Samples:
    return np.frombuffer(bytes(synth.generate(samples)), np.float32).reshape(-1, 2)
