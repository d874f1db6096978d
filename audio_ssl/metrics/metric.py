"""Metrics that are functions of summed per-clip statistics.

A corpus score is ``score(sum of per_clip)``: group scores, speaker sums, bootstrap replicates and permutations are then
all one matrix product followed by `score`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_ssl.base.errors import UserError
from audio_ssl.base.text import composed

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
