"""Chord accuracy over major, minor and no chord, weighted by duration (mir_eval's majmin).

Answers are the ``chords`` of a manifest: ``0.0 1.5 C:maj; 1.5 3.0 A:min7`` (start, end in seconds, label in Harte's
syntax; Harte et al. 2005). Labels are reduced to triads; what is neither major, minor nor ``N`` in the reference is not
counted, nor is time that the reference leaves open.
"""

from __future__ import annotations

from itertools import pairwise

import mir_eval
import numpy as np

from audio_ssl.errors import UserError
from audio_ssl.metrics.additive import AdditiveMetric, Answer, Array, as_text, ratio


def segments(text: str) -> tuple[Array, list[str]]:
    """Return start and end seconds ``[segment, 2]``, by start, and the labels.

    Raises
    ------
    UserError
        If it is not written as ``start end label; start end label``, or segments overlap.

    Examples
    --------
    >>> segments("0 1.5 C:maj; 1.5 3 N")
    (array([[0. , 1.5],
           [1.5, 3. ]]), ['C:maj', 'N'])
    """
    rows = []
    for item in filter(None, (part.strip() for part in text.split(";"))):
        try:
            start, end, label = item.split(maxsplit=2)
            row = float(start), float(end), label
        except ValueError:
            row = np.nan, np.nan, ""
        if not 0 <= row[0] <= row[1] < np.inf:
            raise UserError(f"segments must be like `0.0 1.5 C:maj; 1.5 3.0 N` (seconds), but one is `{item}`")
        rows.append(row)
    rows.sort(key=lambda row: row[:2])
    for first, second in pairwise(rows):
        if second[0] < first[1] - 1e-6:
            raise UserError(
                f"segments must not overlap, but `{second[2]}` starts at {second[0]} before `{first[2]}` ends"
            )
    return np.array([row[:2] for row in rows], np.float64).reshape(-1, 2), [row[2] for row in rows]


def _majmin_seconds(reference: Answer, hypothesis: Answer) -> Array:
    (right, right_labels), (said, said_labels) = segments(as_text(reference)), segments(as_text(hypothesis))
    if not right_labels:
        return np.zeros(2)
    edges = np.unique(np.concatenate([right.ravel(), said.ravel()]))
    edges = edges[(edges >= right.min()) & (edges <= right.max())]
    middles, seconds = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    here, there = _at(middles, right), _at(middles, said)
    known = here >= 0
    references = [right_labels[index] for index in here[known]]
    hypotheses = [said_labels[index] if index >= 0 else "N" for index in there[known]]
    try:
        right_share = mir_eval.chord.majmin(references, hypotheses)
    except mir_eval.chord.InvalidChordException as error:
        raise UserError(f"a chord must be in Harte's syntax, as `C:maj` or `N`: {error}") from error
    counted = right_share >= 0
    return np.array([(right_share * seconds[known])[counted].sum(), seconds[known][counted].sum()])


def _at(times: Array, intervals: Array) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return which interval each time is in, -1 for none."""
    if len(intervals) == 0:
        return np.full(len(times), -1)
    index = np.searchsorted(intervals[:, 0], times, side="right") - 1
    inside = (index >= 0) & (times < intervals[index.clip(min=0), 1])
    return np.where(inside, index, -1)


CHORD_ACCURACY = AdditiveMetric(
    "chord_accuracy",
    ("right_seconds", "seconds"),
    True,
    "%",
    _majmin_seconds,
    lambda s: 100.0 * ratio(s[..., 0], s[..., 1]),
    f"vocabulary:majmin|weight:seconds|mir_eval:{mir_eval.__version__}",
)
"""Share of the time that the chord is right."""
