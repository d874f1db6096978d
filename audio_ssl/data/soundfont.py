"""Notes to sound: the General MIDI soundfont TimGM6mb, which comes with pretty_midi, played by tinysoundfont."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_ssl.errors import UserError

Samples = npt.NDArray[np.float32]

Played = tuple[float, float, int, int]
"""Start and end in seconds, MIDI pitch, velocity from 1 to 127."""

RELEASE_SECONDS = 1.0
"""What is played after the last note has ended."""

_DRUMS_BANK = 128


class Soundfont:
    """The soundfont and the synthesiser that plays it.

    Parameters
    ----------
    tinysoundfont
        The package.
    sample_rate
        Of what is played.
    install
        The command that installs what is missing.

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
        """Return the mono samples of one instrument.

        Parameters
        ----------
        notes
            What is played.
        program
            General MIDI program, or drum kit, counted from 0.
        drums
            Pitches are drums of a kit.
        tuning
            Semitones above 440 Hz.
        seconds
            Length; None: to the end of the last note, and a second more.
        """
        # A fresh synthesiser each time: no voice of the last tune rings on, so the order of tunes changes nothing.
        synth = self._tinysoundfont.Synth(samplerate=self.sample_rate)
        synth.program_select(0, synth.sfload(self._path), _DRUMS_BANK if drums else 0, program, drums)
        if tuning:
            synth.set_tuning(0, tuning)
        # At the same time a note ends before the next begins (0 is the velocity of an end).
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
    """Return samples whose largest value is `peak`; silence stays."""
    return np.asarray(samples * (peak / max(float(np.abs(samples).max(initial=0.0)), 1e-6)), dtype=np.float32)


def _generate(synth: Any, samples: int) -> Samples:
    return np.frombuffer(bytes(synth.generate(samples)), np.float32).reshape(-1, 2)
