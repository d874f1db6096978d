"""Metrics that are functions of summed per-clip statistics.

A corpus score is ``score(sum of per_clip)``: group scores, speaker sums, bootstrap replicates and permutations are then
all one matrix product followed by `score`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_ssl.catalog import optional_packages
from audio_ssl.errors import UserError, unknown_name
from audio_ssl.letters import composed

Array = npt.NDArray[np.float64]

Answer = str | list[str] | list[float]
"""A reference or a hypothesis, as people read it: text or a label, labels, or numbers."""

COUNTS = "_counts"
"""Behind a metric's name: the column of its statistics in a table of predictions, where they are of activations."""


@dataclass(frozen=True)
class AdditiveMetric:
    """One metric."""

    name: str
    """As people write it in tables: ``wer``."""

    columns: tuple[str, ...]
    """What the statistics count."""

    higher_is_better: bool
    """False for error rates."""

    unit: str
    """``%``, ``points`` or ``share``; scores are given in it."""

    per_clip: Callable[[Answer, Answer], Array]
    """Statistics ``[column]`` of one reference and hypothesis."""

    score: Callable[[Array], Array]
    """Score of summed statistics, ``[..., column]`` to ``[...]``; NaN where undefined (no words)."""

    signature: str = ""
    """Normalisation and version, enough to reproduce the number."""

    def statistics(self, pairs: Iterable[tuple[Answer, Answer]]) -> Array:
        """Return the statistics of (reference, hypothesis) pairs, ``[clip, column]``."""
        rows = [self.per_clip(reference, hypothesis) for reference, hypothesis in pairs]
        return np.stack(rows) if rows else np.zeros((0, len(self.columns)))

    def corpus(self, pairs: Iterable[tuple[Answer, Answer]]) -> float:
        """Return the score of (reference, hypothesis) pairs taken together."""
        return float(self.score(self.statistics(pairs).sum(0)))


def get_metric(name: str, classes: Sequence[str] = (), tokenizer: str | None = None) -> AdditiveMetric:
    """Return a metric by name.

    Parameters
    ----------
    name
        Of text: wer, cer, per, bleu, chrf; of classes: accuracy, macro_f1, uar; of numbers: r2; of slots: slot_f1,
        slot_cer; of music: key_score, chord_accuracy, frame_ap, and frame_f1, note_f1, beat_f70, downbeat_f70,
        beat_f20, downbeat_f20, each also with ``_track``.
    classes
        What macro_f1 and uar are means over, and how r2's numbers are called; others need none. Without them macro_f1
        and uar are described, but refuse clips.
    tokenizer
        How bleu cuts texts into words, see `audio_ssl.metrics.tokenizers`; None: 13a. Other metrics have no use for it.

    Raises
    ------
    UserError
        For an unknown name; the text lists the known ones. If an optional package is not installed.
    """
    # Imported here: these modules import rapidfuzz, sacrebleu and mir_eval.
    with optional_packages(f"metric `{name}`"):
        from audio_ssl.metrics.beats import BEATS
        from audio_ssl.metrics.chords import CHORD_ACCURACY
        from audio_ssl.metrics.classification import macro_f1, uar
        from audio_ssl.metrics.music import KEY_SCORE
        from audio_ssl.metrics.notes import NOTES
        from audio_ssl.metrics.regression import r2
        from audio_ssl.metrics.slots import SLOT_CER, SLOT_F1
        from audio_ssl.metrics.text import ACCURACY, BLEU, CER, CHRF, PER, WER, bleu

    of_classes: dict[str, Callable[[Sequence[str]], AdditiveMetric]] = {"macro_f1": macro_f1, "uar": uar, "r2": r2}
    fixed = (WER, CER, PER, BLEU, CHRF, ACCURACY, SLOT_F1, SLOT_CER, KEY_SCORE, CHORD_ACCURACY, *BEATS, *NOTES)
    known = {metric.name: metric for metric in fixed}
    if name == "bleu" and tokenizer is not None:
        return bleu(tokenizer)
    if name in of_classes:
        return of_classes[name](classes)
    if name not in known:
        raise unknown_name("metric", name, [*known, *of_classes])
    return known[name]


def as_text(answer: Answer) -> str:
    """Return an answer that has to be text, in composed letters: what looks alike is no error.

    Raises
    ------
    UserError
        If it is a list.
    """
    if not isinstance(answer, str):
        raise UserError(f"this metric takes text, but got a list of {len(answer)}")
    return composed(answer)


def ratio(numerator: Array, denominator: Array) -> Array:
    """Divide, NaN where the denominator is 0."""
    result = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result
