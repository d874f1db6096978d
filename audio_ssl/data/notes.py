"""The column ``notes`` of a manifest: every note that sounds in a clip, ``start end midi; start end midi``.

Times are seconds from the clip's start, pitches are MIDI numbers (69 is A at 440 Hz), and notes are sorted. No two
notes of one pitch sound at once in it: a unison of two instruments is one note, and a key that is struck again ends
what it sounded before. A transcription of the mixture can then be right in every note (mir_eval matches each note
once). The reader is `audio_ssl.metrics.notes.read_notes`.
"""

from __future__ import annotations

from collections.abc import Iterable

Sounding = tuple[float, float, int]
"""Start and end in seconds, MIDI pitch."""

UNISON_SECONDS = 0.05
"""Notes of one pitch that begin within this are one note: mir_eval's tolerance of onsets."""


def notes_column(notes: Iterable[Sounding]) -> str:
    """Return what the column says of some notes.

    Parameters
    ----------
    notes
        Of all instruments together, in any order.

    Notes
    -----
    Where notes of one pitch overlap, the first ends where the second begins, and the second lasts as long as either.
    Those that begin within 50 ms of each other are one, and what is shorter than a millisecond is none.

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
