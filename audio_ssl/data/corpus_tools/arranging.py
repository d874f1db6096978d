"""Accompaniments for melodies of known key and metre: chords by a simple rule, and the parts of instruments.

Each bar or half bar gets the chord of the key that contains most of its melody. The main degrees are preferred, and a
tune ends on its tonic, mostly after the dominant. The accompaniment plays this chord only, so its label is exact. Times
are quarter notes from the beginning of the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from audio_ssl.data.corpus_tools.scores import Note
from audio_ssl.data.time_columns import ROOTS

Beats = Sequence[tuple[float, int]]
"""Time and number in the bar of each beat."""

Strike = tuple[float, float, int, float]
"""Start, end, MIDI pitch, and accent from 0 to 1."""

_DEGREES: dict[str, tuple[tuple[int, str, float], ...]] = {
    "major": ((0, "maj", 0.15), (7, "maj", 0.12), (5, "maj", 0.1), (9, "min", 0.04), (2, "min", 0.03), (4, "min", 0.0)),
    "minor": (
        (0, "min", 0.15),
        (7, "maj", 0.1),
        (5, "min", 0.1),
        (10, "maj", 0.07),
        (8, "maj", 0.05),
        (3, "maj", 0.05),
    ),
}
"""Semitones above the tonic, quality, and preference, as a share of the melody."""

_TRIADS = {"maj": (0, 4, 7), "min": (0, 3, 7), "7": (0, 4, 7, 10)}
_DOMINANT = 7
_CADENCE = 0.1
_CLOSE = 1e-6

COMPING = ("held", "beats", "offbeats", "broken")
"""Ways to play chords: held, on each beat, between the beats, or note by note."""

BASSES = ("roots", "alternating", "walking")
"""Ways to play a bass: the root of each chord, root and fifth in turn, or a chord note on every beat."""

_KICK, _SNARE = 36, 38
RIDES = (42, 51, 54, 70)
"""Instruments that keep time: hi-hat, ride cymbal, tambourine or maracas."""


@dataclass(frozen=True)
class Harmony:
    """A chord with its start and end."""

    start: float
    end: float
    root: int
    """Pitch class, C is 0."""

    quality: str
    """``maj``, ``min`` or ``7``."""

    @property
    def classes(self) -> list[int]:
        """Return the pitch classes, root first."""
        return [(self.root + step) % 12 for step in _TRIADS[self.quality]]

    def label(self, transposed: int) -> str:
        """Return the label in Harte's syntax, transposed by semitones."""
        return f"{ROOTS[(self.root + transposed) % 12]}:{self.quality}"


def chord_starts(beats: Beats, halves: bool) -> list[float]:
    """Return the possible starts of chords: downbeats, and the middle of bars with an even number of beats."""
    count = max((number for _, number in beats), default=1)
    middle = count // 2 + 1 if halves and count % 2 == 0 else 1
    return [time for time, number in beats if number in (1, middle)]


def harmonise(
    melody: Sequence[Note], starts: Sequence[float], end: float, tonic: int, mode: str, *, closes: bool, sevenths: bool
) -> list[Harmony]:
    """Return one chord per start; each lasts to the next start, the last to `end`.

    Parameters
    ----------
    melody
        The melody.
    starts, end
        Starts of the chords, and the end of the last one.
    tonic, mode
        The key: pitch class, and ``major`` or ``minor``.
    closes
        The melody ends here, so the last chord is the tonic.
    sevenths
        Whether dominants have a seventh.

    Examples
    --------
    >>> tune = [(0.0, 1.0, 60), (1.0, 2.0, 64), (2.0, 4.0, 71), (4.0, 6.0, 60)]
    >>> [one.label(0) for one in harmonise(tune, [0, 2, 4], 6, 0, "major", closes=True, sevenths=True)]
    ['C:maj', 'G:7', 'C:maj']
    """
    edges = [*starts, end]
    found = []
    for place, start in enumerate(starts):
        stop = edges[place + 1]
        weights = [0.0] * 12
        for begin, finish, pitch in melody:
            heard = min(finish, stop) - max(begin, start)
            if heard > _CLOSE:
                # Notes that begin with the chord count twice.
                weights[pitch % 12] += heard * (2 if abs(begin - start) < _CLOSE else 1)
        left = len(starts) - 1 - place
        root, quality = _best(weights, tonic, mode, left if closes else None)
        if sevenths and quality == "maj" and (root - tonic) % 12 == _DOMINANT:
            quality = "7"
        found.append(Harmony(start, stop, root, quality))
    return found


def _best(weights: Sequence[float], tonic: int, mode: str, left: int | None) -> tuple[int, str]:
    total = sum(weights) or 1.0
    degrees = _DEGREES[mode] if left != 0 else _DEGREES[mode][:1]

    def worth(degree: tuple[int, str, float]) -> float:
        step, quality, preferred = degree
        inside = sum(weights[(tonic + step + one) % 12] for one in _TRIADS[quality])
        return inside / total + preferred + (_CADENCE if left == 1 and step == _DOMINANT else 0.0)

    step, quality, _ = max(degrees, key=worth)
    return (tonic + step) % 12, quality


def comping(harmonies: Sequence[Harmony], beats: Beats, divisions: int, how: str, lowest: int) -> list[Strike]:
    """Return the notes of a chordal instrument.

    Parameters
    ----------
    harmonies, beats
        The chords, and the beats of the score.
    divisions
        Divisions of a beat: 2, or 3 in 6/8.
    how
        One of `COMPING`.
    lowest
        Lowest pitch; chords are within the octave above it.
    """
    length = _beat_length(beats)
    strikes: list[Strike] = []
    for one in harmonies:
        pitches = sorted(lowest + (note - lowest) % 12 for note in one.classes)
        inside = [time for time, _ in beats if one.start - _CLOSE <= time < one.end - _CLOSE]
        if how == "held":
            strikes += [(one.start, one.end, pitch, 0.5) for pitch in pitches]
        elif how == "broken":
            step = length / divisions
            times = [time + step * part for time in inside for part in range(divisions)]
            strikes += [
                (time, time + step, pitches[place % len(pitches)], 1.0 if place == 0 else 0.3)
                for place, time in enumerate(times)
                if time < one.end - _CLOSE
            ]
        else:
            late = 0.0 if how == "beats" else length * (divisions - 1) / divisions
            last = length * 0.9 if how == "beats" else length / divisions
            strikes += [
                (time + late, time + late + last, pitch, 0.6 if place else 0.8)
                for place, time in enumerate(inside)
                for pitch in pitches
            ]
    return strikes


def bass_line(harmonies: Sequence[Harmony], beats: Beats, how: str, lowest: int) -> list[Strike]:
    """Return the notes of a bass in the way `how` (one of `BASSES`), within the octave above `lowest`."""
    length = _beat_length(beats)
    strikes: list[Strike] = []
    for one in harmonies:
        root, third, fifth = (lowest + (note - lowest) % 12 for note in one.classes[:3])
        inside = [time for time, _ in beats if one.start - _CLOSE <= time < one.end - _CLOSE]
        if how == "roots" or not inside:
            strikes.append((one.start, one.end, root, 0.8))
            continue
        order = (root, fifth) if how == "alternating" else (root, third, fifth, third)
        strikes += [
            (time, min(time + length, one.end), order[place % len(order)], 0.9 if place == 0 else 0.6)
            for place, time in enumerate(inside)
        ]
    return strikes


def drum_beat(beats: Beats, end: float, divisions: int, ride: int) -> list[Strike]:
    """Return the notes of drums: bass drum on heavy beats, snare on the others, and `ride` on every division."""
    count = max((number for _, number in beats), default=1)
    step = _beat_length(beats) / divisions
    strikes: list[Strike] = []
    for time, number in beats:
        heavy = number == 1 or (count == 4 and number == 3)
        strikes.append((time, time + step, _KICK if heavy else _SNARE, 1.0 if number == 1 else 0.7))
        strikes += [(time + step * part, time + step * (part + 1), ride, 0.4 / (1 + part)) for part in range(divisions)]
    return [strike for strike in strikes if strike[0] < end - _CLOSE]


def _beat_length(beats: Beats) -> float:
    return min((after[0] - before[0] for before, after in pairwise(beats)), default=1.0)
