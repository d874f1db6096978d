"""Notes as a Standard MIDI File, of one piano at 120 beats a minute; times are seconds from the clip's start.

A tick is about a millisecond; it is longer in recordings of more than two hours and a half, as pretty_midi reads at
most ten million ticks. A note whose velocity is not predicted has 80.
"""

from __future__ import annotations

import io

from audio_ssl.artifacts.clip_predictions import ClipPrediction, NoteEvent
from audio_ssl.probing.format import FormatTraits

TRAITS = FormatTraits(".mid", ("notes",), packages=("pretty_midi",))

_VELOCITY = 80
_TEMPO = 120.0
_RESOLUTIONS = (480, 220, 96, 24, 4)
"""Ticks of a quarter note, half a second: the finest that the length allows."""

_MOST_TICKS = 9_000_000


def encode(prediction: ClipPrediction) -> bytes:
    """Return the file; one without notes is a file, too."""
    import pretty_midi

    notes = prediction.notes or ()
    last = max((one.end for one in notes), default=0.0)
    ticks_a_second = _TEMPO / 60
    fine = (one for one in _RESOLUTIONS if last * ticks_a_second * one < _MOST_TICKS)
    song = pretty_midi.PrettyMIDI(resolution=next(fine, _RESOLUTIONS[-1]), initial_tempo=_TEMPO)
    piano = pretty_midi.Instrument(program=0, name="predicted")
    piano.notes = [pretty_midi.Note(_velocity(one), one.pitch, one.start, one.end) for one in notes]
    song.instruments.append(piano)
    content = io.BytesIO()
    song.write(content)
    return content.getvalue()


def _velocity(note: NoteEvent) -> int:
    return _VELOCITY if note.velocity is None else note.velocity
