"""Metrics that are functions of summed per-clip statistics.

A corpus score is ``score(sum of per_clip)``: group scores, speaker sums, bootstrap replicates and permutations are then
all one matrix product followed by `score`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_ssl.catalog import optional_packages
from audio_ssl.errors import unknown_name

Array = npt.NDArray[np.float64]


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

    per_clip: Callable[[str, str], Array]
    """Statistics ``[column]`` of one reference and hypothesis."""

    score: Callable[[Array], Array]
    """Score of summed statistics, ``[..., column]`` to ``[...]``; NaN where undefined (no words)."""

    signature: str = ""
    """Normalisation and version, enough to reproduce the number."""

    def statistics(self, pairs: Iterable[tuple[str, str]]) -> Array:
        """Return the statistics of (reference, hypothesis) pairs, ``[clip, column]``."""
        rows = [self.per_clip(reference, hypothesis) for reference, hypothesis in pairs]
        return np.stack(rows) if rows else np.zeros((0, len(self.columns)))

    def corpus(self, pairs: Iterable[tuple[str, str]]) -> float:
        """Return the score of (reference, hypothesis) pairs taken together."""
        return float(self.score(self.statistics(pairs).sum(0)))


def get_metric(name: str) -> AdditiveMetric:
    """Return a metric by name: wer, cer, bleu, chrf, accuracy, key_score.

    Raises
    ------
    UserError
        For an unknown name; the text lists the known ones. If an optional package is not installed.
    """
    # Imported here: these modules import jiwer, sacrebleu and mir_eval.
    with optional_packages(f"metric `{name}`"):
        from audio_ssl.metrics.music import KEY_SCORE
        from audio_ssl.metrics.text import ACCURACY, BLEU, CER, CHRF, WER

    known = {metric.name: metric for metric in (WER, CER, BLEU, CHRF, ACCURACY, KEY_SCORE)}
    if name not in known:
        raise unknown_name("metric", name, known)
    return known[name]


def ratio(numerator: Array, denominator: Array) -> Array:
    """Divide, NaN where the denominator is 0."""
    result = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result
