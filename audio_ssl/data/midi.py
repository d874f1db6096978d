"""Notes of a MIDI file of a piano, as long as they sound: until key and sustain pedal are up."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from audio_ssl.data.notes import Sounding
from audio_ssl.errors import AudioError

_SUSTAIN, _DOWN = 64, 64
"""The controller of the pedal, and the value from which it is down."""


def midi_notes(path: Path, pretty_midi: Any) -> list[Sounding]:
    """Return the notes of all instruments but drums.

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
    """Return notes with the ends that the sustain pedal gives them, as the field has it (Hawthorne et al. 2018).

    A note whose key is let go while the pedal is down (64 or more) sounds until the pedal is up, or its key is struck
    again. Half pedalling, which makes it softer, is not looked at.

    Parameters
    ----------
    notes
        Start and end in seconds as the keys go, MIDI pitch.
    pedal
        Second and value of each movement of the pedal.

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
        # Never let up: until the last key is.
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
    """Return what sounds between two times, from the first of them on: a note that sounds already begins at 0."""
    return [
        (max(begin, start) - start, min(finish, end) - start, pitch)
        for begin, finish, pitch in notes
        if begin < end and finish > start
    ]
