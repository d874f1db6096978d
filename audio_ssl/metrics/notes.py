"""Scores of transcriptions: average precision and F-measure of frames, F-measure of notes (mir_eval).

Answers are the ``notes`` of a manifest: ``0.0 0.5 69; 0.5 1.0 71`` (start, end in seconds, MIDI pitch). `note_f1` is
the score of MAPS and MAESTRO without offsets: a note is right whose pitch is right and whose onset is within 50 ms.
`frame_f1` compares what sounds every 10 ms, as MIREX's multiple fundamental frequencies. Both pool the counts of all
clips; ``_track`` is the mean over clips, which papers on MAESTRO report. `frame_ap` is the average precision of
activations over all pairs of a frame and a key (micro average, as MusicNet; Thickstun et al. 2017, arXiv 1611.09827);
it takes activations, not answers.
"""

from __future__ import annotations

import mir_eval
import numpy as np
import numpy.typing as npt

from audio_ssl.errors import UserError
from audio_ssl.metrics.additive import AdditiveMetric, Answer, Array, as_text, ratio
from audio_ssl.metrics.matches import f_metrics

HIGHEST_PITCH = 127
"""Of MIDI."""

ONSET_SECONDS = 0.05
"""How far an onset may be off (mir_eval's default, MIREX)."""

HOP_SECONDS = 0.01
"""Frames of `frame_f1` (MIREX)."""

STEPS = 512
"""Steps that activations are counted in, of a 16th each; what is in one step is taken to be in random order."""

_STEPS_PER_UNIT = 16


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
    rows = []
    for item in filter(None, (part.strip() for part in text.split(";"))):
        try:
            start, end, pitch = item.split()
            row = float(start), float(end), int(pitch)
        except ValueError:
            row = np.nan, np.nan, 0
        if not (0 <= row[0] < row[1] < np.inf and 0 <= row[2] <= HIGHEST_PITCH):
            raise UserError(f"`notes` must be like `0.0 0.5 69; 0.5 1.0 71` (seconds, MIDI pitch), but has `{item}`")
        rows.append(row)
    rows.sort()
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
    "frame_ap",
    tuple(f"{what}_{step - STEPS // 2}" for what in ("sounding", "silent") for step in range(STEPS)),
    True,
    "%",
    _of_activations,
    _average_precision,
    f"micro over frames and keys|steps of 1/{_STEPS_PER_UNIT}|counts pooled",
)
"""Average precision of activations of frames and keys."""

NOTES = (
    FRAME_AP,
    *f_metrics("frame_f1", "frames", _frames, f"hop:{HOP_SECONDS}s"),
    *f_metrics("note_f1", "notes", _notes, f"onset:{ONSET_SECONDS}s|no offset|mir_eval:{mir_eval.__version__}"),
)
"""frame_ap, frame_f1, frame_f1_track, note_f1, note_f1_track."""
