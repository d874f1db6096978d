"""Beats from the bar lines of a score, for corpora that know their scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_CLOSE = 1e-6


def beats_of_bars(lines: Iterable[float], end: float, metre: str) -> list[tuple[float, int]] | None:
    """Return where the beats of a score are, and their numbers in the bar, from 1; None if its bars do not add up.

    Parameters
    ----------
    lines
        Where bar lines are, in quarter notes from the beginning; in any order, more than once or not.
    end
        Where the score ends.
    metre
        As ``6/8``: over 8, three eighths are a beat where there are 6, 9 or 12, else the lower number says what is.

    Notes
    -----
    A first bar that is too short is an upbeat, and beats in it are numbered from the end of the bar. Of two short bars
    that make one, as at repeats, the second continues the first. The last may be of any length up to a bar.

    Examples
    --------
    >>> beats_of_bars([1.0, 4.0], 5.0, "3/4")
    [(0.0, 3), (1.0, 1), (2.0, 2), (3.0, 3), (4.0, 1)]
    """
    count, lower = (int(number) for number in metre.split("/"))
    full, beat = 4 * count / lower, 4 / lower
    if lower == 8 and count in (6, 9, 12):
        beat *= 3
    starts = _bar_starts(_distinct([0.0, *(line for line in lines if 0 < line < end), end]), full)
    if starts is None:
        return None
    beats = [(start + place * beat, place + 1) for start in starts for place in range(round(full / beat))]
    return [(max(time, 0.0), number) for time, number in beats if -_CLOSE < time < end - _CLOSE]


def _distinct(lines: Sequence[float]) -> list[float]:
    kept: list[float] = []
    for line in sorted(lines):
        if not kept or line - kept[-1] > _CLOSE:
            kept.append(line)
    return kept


def _bar_starts(lines: Sequence[float], full: float) -> list[float] | None:
    """Return where bars start, the first perhaps before 0; None if some bar is neither full nor made of short ones."""
    starts: list[float] = []
    if len(lines) > 2 and lines[1] < full - _CLOSE:
        starts, lines = [lines[1] - full], lines[1:]
    begin = lines[0]
    for line in lines[1:]:
        if line - begin > full + _CLOSE:
            return None
        if line - begin > full - _CLOSE or line == lines[-1]:
            starts.append(begin)
            begin = line
    return starts
