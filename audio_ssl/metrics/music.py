"""The weighted key score of MIREX (mir_eval), as an additive metric.

Right 1, a perfect fifth off 0.5, the relative key 0.3, the parallel key 0.2, anything else 0.
"""

from __future__ import annotations

import mir_eval
import numpy as np

from audio_ssl.metrics.additive import AdditiveMetric, Answer, Array, as_text, ratio

TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
KEYS = tuple(f"{tonic} {mode}" for mode in ("major", "minor") for tonic in TONICS)
"""The 24 keys under the names that labels use."""


def _key_points(reference: Answer, hypothesis: Answer) -> Array:
    return np.array([mir_eval.key.weighted_score(as_text(reference), as_text(hypothesis)), 1.0])


KEY_SCORE = AdditiveMetric(
    "key_score", ("points", "clips"), True, "%", _key_points, lambda s: 100.0 * ratio(s[..., 0], s[..., 1])
)
"""Mean weighted key score, in percent."""
