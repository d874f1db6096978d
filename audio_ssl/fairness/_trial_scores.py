"""Metrics of verification trials as functions of how often each speaker counts, to resample and permute speakers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from audio_ssl.metrics.verification import Curve, SpeakerTrials

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

UNITS = {"eer": "%", "min_dcf": "cost", "fnmr_at_common": "%", "fmr_at_common": "%"}
"""Metrics and their units; all are better where lower."""


@dataclass(frozen=True)
class Scores:
    """All metrics of some trials, of how often each speaker counts.

    Each question draws the same resamples, so what was computed for one metric is kept for the others.
    """

    trials: SpeakerTrials
    codes: Places
    """``[speaker]``, who they are."""
    common: int
    """Place of the common threshold."""
    known: dict[bytes, tuple[float, ...]] = field(default_factory=dict)

    def of(self, metric: str) -> Score:
        """Return one metric."""
        return Score(self, list(UNITS).index(metric))

    def read(self, counts: npt.NDArray[np.int64]) -> tuple[float, ...]:
        """Return the metrics in the order of `UNITS`, NaN where trials of one kind are lacking."""
        key = blake2b(counts.tobytes(), digest_size=16).digest()
        if key not in self.known:
            curve = self.trials.weigh(counts)
            self.known[key] = (math.nan,) * len(UNITS) if curve is None else self._of(curve)
        return self.known[key]

    def _of(self, curve: Curve) -> tuple[float, ...]:
        misses, alarms = curve.errors(self.common)
        return curve.eer(), curve.min_dcf(), 100 * misses, 100 * alarms


@dataclass(frozen=True)
class Score:
    """One metric, as a function of summed statistics: ``[..., speaker]`` to ``[...]``."""

    scores: Scores
    column: int

    @property
    def speakers(self) -> int:
        return len(self.scores.codes)

    def __call__(self, counts: Array) -> Array:
        rows = np.rint(counts).astype(np.int64).reshape(math.prod(counts.shape[:-1]), self.speakers)
        values = [self.scores.read(row)[self.column] for row in rows]
        return np.array(values, np.float64).reshape(counts.shape[:-1])
