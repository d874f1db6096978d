"""Metrics of music: keys, chords, beats and notes, scored by mir_eval.

Keys: MIREX's weighted score. Right 1, a perfect fifth off 0.5, the relative key 0.3, the parallel key 0.2, others 0.

Chords are the ``chords`` of a manifest: ``0.0 1.5 C:maj; 1.5 3.0 A:min7`` (start, end in seconds, label in Harte's
syntax; Harte et al. 2005). The accuracy is weighted by duration, over major, minor and no chord. Labels are reduced to
triads; what is neither major, minor nor ``N`` in the reference is not counted, nor is time that it leaves open.

Beats are the ``beats`` of a manifest: ``0.512/1 1.024/2`` (seconds from the clip's start, number in the bar; the number
may be missing). The F-measure is within a window. Nothing is trimmed from a clip's start; evaluations of whole songs
commonly leave out the first five seconds.

Notes are the ``notes`` of a manifest: ``0.0 0.5 69; 0.5 1.0 71`` (start, end in seconds, MIDI pitch). `note_f1` is the
score of MAPS and MAESTRO without offsets: a note is right whose pitch is right and whose onset is within 50 ms.
`frame_f1` compares what sounds every 10 ms, as MIREX's multiple fundamental frequencies. `frame_ap` is the average
precision of activations over all pairs of a frame and a key (micro average, as MusicNet; Thickstun et al. 2017, arXiv
1611.09827); it takes activations, not answers.

F-measures pool the counts of all clips; ``_track`` is the mean over clips, which papers on MAESTRO report.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_ssl.base.errors import UserError
from audio_ssl.data.time_columns import ROOTS, timed_labels
from audio_ssl.metrics.metric import AdditiveMetric, Answer, Array, as_text, ratio, share

KEYS = tuple(f"{tonic} {mode}" for mode in ("major", "minor") for tonic in ROOTS)
"""The 24 keys as labels name them."""


@lru_cache
def _mir_eval() -> Any:
    # Imported here: what a metric is called is known without the package that computes it.
    return importlib.import_module("mir_eval")


def _key_points(reference: Answer, hypothesis: Answer) -> Array:
    mir_eval = _mir_eval()
    return np.array([mir_eval.key.weighted_score(as_text(reference), as_text(hypothesis)), 1.0])


def _why_no_key(reference: object, hypothesis: str) -> str | None:
    try:
        _key_points(str(reference), hypothesis)
    except ValueError as error:
        return f"key_score: {error}"
    return None


KEY_SCORE = AdditiveMetric(
    name="key_score",
    label="weighted key score",
    tasks=("key",),
    main_of=("key",),
    packages=("mir_eval",),
    columns=("points", "clips"),
    per_clip=_key_points,
    score=share,
    why_not=_why_no_key,
)
"""Mean weighted key score, in percent."""

Count = Callable[[Answer, Answer], Array]
"""From a reference and a hypothesis to matches, things in the reference, things in the hypothesis."""


def f_metrics(
    name: str, label: str, things: str, count: Count, way: str, versioned: bool = True
) -> tuple[AdditiveMetric, AdditiveMetric]:
    """Return the metrics `name`, of the counts of all clips together, and ``NAME_track``, the mean over clips.

    Parameters
    ----------
    name, label
        Of the first.
    things
        What is counted: ``beats``.
    count
        What matches.
    way
        How things are matched, for the signature.
    versioned
        Whether mir_eval matches them.
    """

    def signature() -> str:
        return f"{way}|mir_eval:{_mir_eval().__version__}" if versioned else way

    pooled = AdditiveMetric(
        name=name,
        label=label,
        packages=("mir_eval",),
        columns=("matches", f"reference_{things}", f"hypothesis_{things}"),
        per_clip=count,
        score=lambda sums: 100.0 * f_measure(sums),
        signature_of=lambda: f"{signature()}|counts pooled",
    )
    of_tracks = replace(
        pooled,
        name=f"{name}_track",
        label=f"{label}, mean over tracks",
        columns=("f", "tracks"),
        per_clip=_per_track(count),
        score=share,
        signature_of=lambda: f"{signature()}|mean over tracks that have any",
    )
    return pooled, of_tracks


def f_measure(counts: Array) -> Array:
    """Return the F-measure of ``[..., (matches, in the reference, in the hypothesis)]``; NaN where there is nothing."""
    return ratio(2 * counts[..., 0], counts[..., 1] + counts[..., 2])


def _per_track(count: Count) -> Count:
    def statistics(reference: Answer, hypothesis: Answer) -> Array:
        f = float(f_measure(count(reference, hypothesis)))
        return np.zeros(2) if np.isnan(f) else np.array([f, 1.0])

    return statistics


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

    def wrong(item: str) -> str:
        return f"segments must be like `0.0 1.5 C:maj; 1.5 3.0 N` (seconds), but one is `{item}`"

    rows = sorted(timed_labels(text, str, wrong, points=True), key=lambda row: row[:2])
    for first, second in pairwise(rows):
        if second[0] < first[1] - 1e-6:
            raise UserError(
                f"segments must not overlap, but `{second[2]}` starts at {second[0]} before `{first[2]}` ends"
            )
    return np.array([row[:2] for row in rows], np.float64).reshape(-1, 2), [row[2] for row in rows]


def _majmin_seconds(reference: Answer, hypothesis: Answer) -> Array:
    mir_eval = _mir_eval()
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
    name="chord_accuracy",
    label="chord accuracy",
    packages=("mir_eval",),
    columns=("right_seconds", "seconds"),
    per_clip=_majmin_seconds,
    score=share,
    signature_of=lambda: f"vocabulary:majmin|weight:seconds|mir_eval:{_mir_eval().__version__}",
)
"""Share of the time that the chord is right."""


def beat_times(text: str) -> tuple[Array, Array]:
    """Return the seconds of the beats, sorted, and their numbers in the bar (NaN where none is given).

    Raises
    ------
    UserError
        If it is not written so.

    Examples
    --------
    >>> beat_times("0.512/1 1.024/2 1.5")
    (array([0.512, 1.024, 1.5  ]), array([ 1.,  2., nan]))
    """
    rows = []
    for item in text.split():
        seconds, slash, number = item.partition("/")
        try:
            row = float(seconds), float(int(number)) if slash else np.nan
        except ValueError:
            row = np.nan, np.nan
        if not 0 <= row[0] < np.inf:
            raise UserError(f"`beats` must be like `0.512/1 1.024/2` (seconds/number in bar), but has `{item}`")
        rows.append(row)
    table = np.array(sorted(rows, key=lambda row: row[0]), np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _matches(window_seconds: float, downbeats: bool) -> Callable[[Answer, Answer], Array]:
    """Return the function that counts matches, reference beats and hypothesis beats."""

    def count(reference: Answer, hypothesis: Answer) -> Array:
        (right, number), (said, said_number) = beat_times(as_text(reference)), beat_times(as_text(hypothesis))
        if downbeats:
            if len(right) and np.isnan(number).all():
                # The reference does not know bars: nothing can be right or wrong.
                return np.zeros(3)
            right, said = right[number == 1], said[said_number == 1]
        both = len(right) and len(said)
        matched = len(_mir_eval().util.match_events(right, said, window_seconds)) if both else 0
        return np.array([matched, len(right), len(said)], np.float64)

    return count


BEATS = tuple(
    metric
    for name, downbeats in (("beat", False), ("downbeat", True))
    for milliseconds in (70, 20)
    for metric in f_metrics(
        f"{name}_f{milliseconds}",
        f"{name} F1 ({milliseconds} ms)",
        "beats",
        _matches(milliseconds / 1000, downbeats),
        f"window:{milliseconds / 1000}s|trim:0s",
    )
)

HIGHEST_PITCH = 127
"""Of MIDI."""

ONSET_SECONDS = 0.05
"""How far an onset may be off (mir_eval's default, MIREX)."""

HOP_SECONDS = 0.01
"""Frames of `frame_f1` (MIREX)."""

STEPS = 512
"""Steps that activations are counted in, of a 16th each; what is in one step is taken to be in random order."""

_STEPS_PER_UNIT = 16


def _pitch(text: str) -> int:
    pitch = int(text)
    if not 0 <= pitch <= HIGHEST_PITCH:
        raise ValueError(f"`{text}` is not a MIDI pitch")
    return pitch


def read_notes(text: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return start and end seconds ``[note, 2]``, by start, and MIDI pitches ``[note]``.

    Raises
    ------
    UserError
        If it is not written as ``start end midi; start end midi``.

    Examples
    --------
    >>> read_notes("0.5 1.25 69; 0 0.5 60")
    (array([[0.  , 0.5 ],
           [0.5 , 1.25]]), array([60, 69]))
    """

    def wrong(item: str) -> str:
        return f"`notes` must be like `0.0 0.5 69; 0.5 1.0 71` (seconds, MIDI pitch), but has `{item}`"

    rows = sorted(timed_labels(text, _pitch, wrong))
    intervals = np.array([row[:2] for row in rows], np.float64).reshape(-1, 2)
    return intervals, np.array([row[2] for row in rows], np.int64)


def activation_counts(logits: npt.NDArray[np.floating], sounding: npt.NDArray[np.bool_]) -> Array:
    """Return how many pairs of a frame and a key have an activation of each step: those that sound, then the others.

    Parameters
    ----------
    logits
        ``[frame, key]``, before the sigmoid; counted in steps of a 16th from -16 to 16, the ends with all beyond.
    sounding
        ``[frame, key]``, what is right.

    Returns
    -------
    Array
        ``[2 * STEPS]``; sums of it over clips are what `frame_ap` is a function of.
    """
    step = np.floor(np.asarray(logits, np.float64) * _STEPS_PER_UNIT).clip(-STEPS // 2, STEPS // 2 - 1)
    place = step.astype(np.int64) + STEPS // 2 + STEPS * ~sounding
    return np.bincount(place.ravel(), minlength=2 * STEPS).astype(np.float64)


def _average_precision(counts: Array) -> Array:
    right, wrong = np.flip(counts[..., :STEPS], -1), np.flip(counts[..., STEPS:], -1)
    # At the middle one of a step's right pairs, half of its wrong ones have been passed.
    found = right.cumsum(-1) - (right - 1) / 2
    passed = wrong.cumsum(-1) - wrong / 2
    precision = np.nan_to_num(ratio(found, found + passed))
    return 100.0 * ratio((right * precision).sum(-1), right.sum(-1))


def _of_activations(reference: Answer, hypothesis: Answer) -> Array:
    raise UserError(
        "`frame_ap` is a score of activations, which notes in a table do not have",
        remedy="use frame_f1 or note_f1; a result of the task `notes` has frame_ap in scores.json",
    )


def _sounding(text: str, frames: int) -> npt.NDArray[np.bool_]:
    """Return ``[frame, pitch]``: what sounds every 10 ms."""
    intervals, pitches = read_notes(text)
    roll = np.zeros((frames, HIGHEST_PITCH + 1), np.bool_)
    # Rounded, as 0.29 / 0.01 is a little below 29.
    edges = np.ceil(np.round(intervals / HOP_SECONDS, 6)).astype(np.int64)
    for (start, end), pitch in zip(edges, pitches, strict=True):
        roll[start:end, pitch] = True
    return roll


def _frames(reference: Answer, hypothesis: Answer) -> Array:
    texts = as_text(reference), as_text(hypothesis)
    last = max((float(read_notes(text)[0].max(initial=0.0)) for text in texts), default=0.0)
    right, said = (_sounding(text, int(last / HOP_SECONDS) + 2) for text in texts)
    return np.array([(right & said).sum(), right.sum(), said.sum()], np.float64)


def _notes(reference: Answer, hypothesis: Answer) -> Array:
    (right, right_pitches), (said, said_pitches) = read_notes(as_text(reference)), read_notes(as_text(hypothesis))
    mir_eval = _mir_eval()
    matched = 0
    # Other pitches never match, so each is matched by itself: a graph of few notes.
    for pitch in np.intersect1d(right_pitches, said_pitches):
        ours, theirs = right[right_pitches == pitch], said[said_pitches == pitch]
        hertz = mir_eval.util.midi_to_hz(np.array([float(pitch)]))
        matched += len(
            mir_eval.transcription.match_notes(
                ours,
                np.repeat(hertz, len(ours)),
                theirs,
                np.repeat(hertz, len(theirs)),
                onset_tolerance=ONSET_SECONDS,
                offset_ratio=None,
            )
        )
    return np.array([matched, len(right), len(said)], np.float64)


FRAME_AP = AdditiveMetric(
    name="frame_ap",
    label="average precision of frames",
    columns=tuple(f"{what}_{step - STEPS // 2}" for what in ("sounding", "silent") for step in range(STEPS)),
    per_clip=_of_activations,
    score=_average_precision,
    signature_of=lambda: f"micro over frames and keys|steps of 1/{_STEPS_PER_UNIT}|counts pooled",
)
"""Average precision of activations of frames and keys."""

NOTES = (
    FRAME_AP,
    *f_metrics("frame_f1", "frame F1", "frames", _frames, f"hop:{HOP_SECONDS}s", versioned=False),
    *f_metrics("note_f1", "note F1", "notes", _notes, f"onset:{ONSET_SECONDS}s|no offset"),
)

METRICS = (KEY_SCORE, CHORD_ACCURACY, *BEATS, *NOTES)
