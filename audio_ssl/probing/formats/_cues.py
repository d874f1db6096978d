"""Cues of subtitles: words of a transcript in groups that can be read, cut at pauses.

Netflix's guides are followed: at most two lines of 42 characters (a Chinese or Japanese character counts as two), and
seven seconds. Among all such groups, those are taken that are few, evenly filled, and end at pauses and sentences.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from audio_ssl.artifacts.clip_predictions import ClipPrediction, TimedLabel
from audio_ssl.probing.format import inside, one_line

_LINE_WIDTH, _LINES = 42, 2
_MOST_SECONDS = 7.0
_PAUSE_SECONDS = 1.0
"""A cue never goes on over a longer pause."""

_LEAST_SECONDS = 1.0
_LINGER_SECONDS = 0.2
"""How much longer than its last word a cue stands: CTC marks the beginning of a sound rather than its end."""

_SENTENCE_ENDS = tuple(".?!…。？！")


@dataclass(frozen=True)
class Cue:
    """Lines that are shown together."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


def cues(prediction: ClipPrediction) -> list[Cue]:
    """Return the cues of a transcript with times, which do not overlap; none where nothing was said."""
    words = inside(prediction.words or (), prediction.seconds)
    space = "" if _is_unspaced(prediction) else " "
    groups = [group for run in _runs(words) for group in _grouped(run, space)]
    starts = [*(round(group[0].start * 1000) for group in groups), round(prediction.seconds * 1000)]
    found = []
    for group, (start, following) in zip(groups, pairwise(starts), strict=True):
        wanted = max(group[-1].end + _LINGER_SECONDS, group[0].start + _LEAST_SECONDS)
        wanted = max(min(wanted, group[0].start + _MOST_SECONDS), group[-1].end)
        end = max(min(round(wanted * 1000), following), start + 1)
        found.append(Cue(start, end, _lines([one_line(one.label) for one in group], space)))
    return found


def _is_unspaced(prediction: ClipPrediction) -> bool:
    """Return whether the words are characters of a language without spaces: the text is these, with fewer spaces."""
    labels, parts = [one.label for one in prediction.words or ()], (prediction.text or "").split()
    return "".join(labels) == "".join(parts) and len(parts) < len(labels)


def _runs(words: Sequence[TimedLabel]) -> list[list[TimedLabel]]:
    """Return the words between long pauses."""
    runs: list[list[TimedLabel]] = []
    for word in words:
        if not runs or word.start - runs[-1][-1].end >= _PAUSE_SECONDS:
            runs.append([])
        runs[-1].append(word)
    return runs


def _grouped(words: Sequence[TimedLabel], space: str) -> list[Sequence[TimedLabel]]:
    """Return the best groups of neighbouring words; a single word may be longer than a cue."""
    limit = _LINE_WIDTH * _LINES
    widths = [_width(one.label) for one in words]
    best = [0.0]
    begins = [0]
    for end in range(1, len(words) + 1):
        options: list[tuple[float, int]] = []
        width = 0
        for begin in range(end - 1, -1, -1):
            width += widths[begin] + (len(space) if begin < end - 1 else 0)
            seconds = words[end - 1].end - words[begin].start
            if begin < end - 1 and (seconds > _MOST_SECONDS or not _fits(widths[begin:end], len(space))):
                break
            cost = best[begin] + 1.0 + (1.0 - min(width / limit, 1.0)) ** 2
            options.append((cost - (_rest(words, begin) if begin else 0.0), begin))
        cost, begin = min(options)
        best.append(cost)
        begins.append(begin)
    found: list[Sequence[TimedLabel]] = []
    end = len(words)
    while end:
        found.append(words[begins[end] : end])
        end = begins[end]
    return found[::-1]


def _rest(words: Sequence[TimedLabel], place: int) -> float:
    """Return how good it is to end a cue before a word."""
    before = words[place - 1]
    return (0.5 if before.label.endswith(_SENTENCE_ENDS) else 0.0) + min(words[place].start - before.end, 0.5)


def _fits(widths: Sequence[int], space: int) -> bool:
    """Return whether words of some widths fill at most two lines."""
    lines, width = 1, -space
    for one in widths:
        width += space + one
        if width > _LINE_WIDTH:
            lines, width = lines + 1, one
    return lines <= _LINES and max(widths) <= _LINE_WIDTH


def _lines(words: Sequence[str], space: str) -> tuple[str, ...]:
    """Return one line, or two that are as even as can be."""
    whole = space.join(words)
    if _width(whole) <= _LINE_WIDTH or len(words) == 1:
        return (whole,)
    halves = ((space.join(words[:place]), space.join(words[place:])) for place in range(1, len(words)))
    return min(halves, key=lambda pair: (max(map(_width, pair)), -_width(pair[1])))


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def clock(milliseconds: int, mark: str) -> str:
    """Return hours, minutes, seconds and milliseconds.

    Examples
    --------
    >>> clock(3_723_004, ",")
    '01:02:03,004'
    """
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{rest:03d}"
