"""Columns with times: how ``start end label; start end label`` is read, and how ``notes`` and ``chords`` are written.

``notes`` has every note of a clip: ``start end midi; start end midi``. Times are seconds from the clip's start, pitches
are MIDI numbers (69 is A at 440 Hz), and notes are sorted. Notes of the same pitch never overlap: a unison of two
instruments is one note, and a repeated key ends the note before. So a transcription of the mixture can get every note
right (mir_eval matches each note once). The reader is `audio_ssl.metrics.families.music.read_notes`.

``chords`` has the chords of the notes in the syntax of Harte et al. 2005, for corpora whose scores are known. A chord
lasts until any note begins or ends. It is named by its pitch classes: triads, seventh chords and suspended fourths,
also without their fifth, with the lowest note after the slash. Anything else, such as a chord with a passing note, is
``X`` (unknown), which mir_eval does not score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

from audio_ssl.base.errors import UserError

Label = TypeVar("Label")

Sounding = tuple[float, float, int]
"""Start and end in seconds, MIDI pitch."""

UNISON_SECONDS = 0.05
"""Seconds within which notes of the same pitch are one note: mir_eval's onset tolerance."""


def timed_labels(
    text: str, read: Callable[[str], Label], wrong: Callable[[str], str], points: bool = False
) -> list[tuple[float, float, Label]]:
    """Read ``start end label; start end label``: start and end in seconds, and the label, in the order of the text.

    Parameters
    ----------
    text
        Value of the column.
    read
        What a label means; ValueError for one that means nothing.
    wrong
        The error for an item that cannot be read.
    points
        Whether an end may equal its start.

    Raises
    ------
    UserError
        With `wrong` of the first item that has no start, end and label, whose times are not finite and in order, or
        whose label cannot be read.

    Examples
    --------
    >>> timed_labels("0.5 1.25 69; 0 0.5 60", int, lambda item: f"wrong: {item}")
    [(0.5, 1.25, 69), (0.0, 0.5, 60)]
    """
    found = []
    for item in filter(None, (part.strip() for part in text.split(";"))):
        try:
            first, last, name = item.split(maxsplit=2)
            start, end, label = float(first), float(last), read(name)
        except ValueError as error:
            raise UserError(wrong(item)) from error
        if not (0 <= start <= end < math.inf and (points or start < end)):
            raise UserError(wrong(item))
        found.append((start, end, label))
    return found


def notes_column(notes: Iterable[Sounding]) -> str:
    """Return the text of the column ``notes``.

    Parameters
    ----------
    notes
        Notes of all instruments, in any order.

    Notes
    -----
    If notes of the same pitch overlap, the first ends where the second begins, and the second ends at the later end.
    Notes that begin within 50 ms of each other are one note. Notes shorter than a millisecond are left out.

    Examples
    --------
    >>> notes_column([(0.5, 1.0, 60), (0.0, 2.0, 64), (0.75, 0.9, 60), (0.5, 0.8, 60)])
    '0.000 2.000 64; 0.500 0.750 60; 0.750 1.000 60'
    """
    kept: list[Sounding] = []
    latest: dict[int, int] = {}
    for start, end, pitch in sorted(notes):
        if end - start < 1e-3:
            continue
        before = latest.get(pitch)
        if before is not None and kept[before][1] > start:
            end = max(end, kept[before][1])
            if start - kept[before][0] < UNISON_SECONDS:
                kept[before] = (kept[before][0], end, pitch)
                continue
            kept[before] = (kept[before][0], start, pitch)
        latest[pitch] = len(kept)
        kept.append((start, end, pitch))
    return "; ".join(f"{start:.3f} {end:.3f} {pitch}" for start, end, pitch in kept)


ROOTS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
"""Name of each pitch class, as mir_eval reads it."""

_QUALITIES = {
    "maj": ((0, 4, 7), (0, 4)),
    "min": ((0, 3, 7), (0, 3)),
    "dim": ((0, 3, 6),),
    "aug": ((0, 4, 8),),
    "7": ((0, 4, 7, 10), (0, 4, 10)),
    "maj7": ((0, 4, 7, 11), (0, 4, 11)),
    "min7": ((0, 3, 7, 10), (0, 3, 10)),
    "minmaj7": ((0, 3, 7, 11), (0, 3, 11)),
    "hdim7": ((0, 3, 6, 10),),
    "dim7": ((0, 3, 6, 9),),
    "sus4": ((0, 5, 7),),
    "5": ((0, 7),),
    "1": ((0,),),
}
"""Name of a chord quality to its sets of semitones above the root."""

_NAMES = {frozenset(one): name for name, sets in _QUALITIES.items() for one in sets}
_DEGREES = ("1", "b2", "2", "b3", "3", "4", "b5", "5", "#5", "6", "b7", "7")


def chord_name(pitches: Iterable[int]) -> str:
    """Return the chord of MIDI pitches: ``N`` without pitches, ``X`` for an unknown chord.

    The root of a chord that divides the octave evenly is its lowest note.

    Examples
    --------
    >>> chord_name([60, 64, 67]), chord_name([55, 59, 65, 62]), chord_name([53, 60, 62, 69]), chord_name([60, 61])
    ('C:maj', 'G:7', 'D:min7/b3', 'X')
    """
    sounding = sorted(pitches)
    if not sounding:
        return "N"
    lowest = sounding[0] % 12
    classes = {pitch % 12 for pitch in sounding}
    for root in (lowest, *sorted(classes)):
        name = _NAMES.get(frozenset((one - root) % 12 for one in classes))
        if name is not None:
            above = (lowest - root) % 12
            return f"{ROOTS[root]}:{name}" + (f"/{_DEGREES[above]}" if above else "")
    return "X"


def chords_of_notes(notes: Sequence[Sounding], until: float | None = None) -> str:
    """Return the chords of notes as ``start end label; start end label``, from 0 to the last end or `until`.

    Parameters
    ----------
    notes
        Start and end in seconds, MIDI pitch.
    until
        End in seconds; None: the end of the last note.

    Examples
    --------
    >>> chords_of_notes([(0.0, 2.0, 60), (0.0, 2.0, 64), (0.0, 1.0, 67), (1.0, 2.0, 69), (3.0, 4.0, 60)])
    '0.000 1.000 C:maj; 1.000 2.000 A:min/b3; 2.000 3.000 N; 3.000 4.000 C:1'
    """
    end = max((end for _, end, _ in notes), default=0.0)
    end = end if until is None else min(until, end)
    # Rounded to milliseconds, as in the column, as simultaneous ends and starts may differ by a rounding error.
    whole = [(round(start, 3), round(end, 3), pitch) for start, end, pitch in notes]
    last = round(end, 3)
    edges = sorted({0.0, last, *(time for start, end, _ in whole for time in (start, end) if time < last)})
    return chords_column(
        (begin, finish, chord_name(pitch for start, end, pitch in whole if start <= begin < end))
        for begin, finish in pairwise(edges)
    )


def chords_column(spans: Iterable[tuple[float, float, str]]) -> str:
    """Return spans (start, end, label) as ``start end label; start end label``. Adjacent equal labels are joined.

    Examples
    --------
    >>> chords_column([(0.0, 1.0, "C:maj"), (1.0, 2.0, "C:maj"), (2.0, 2.5, "G:7")])
    '0.000 2.000 C:maj; 2.000 2.500 G:7'
    """
    found: list[tuple[float, float, str]] = []
    for begin, finish, name in spans:
        if found and found[-1][2] == name and found[-1][1] == begin:
            found[-1] = (found[-1][0], finish, name)
        else:
            found.append((begin, finish, name))
    return "; ".join(f"{start:.3f} {end:.3f} {name}" for start, end, name in found)
