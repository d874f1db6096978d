"""F-measure of things that are matched, such as beats and notes: counts pooled over clips, or a mean over tracks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from audio_ssl.metrics.additive import AdditiveMetric, Answer, Array, ratio

Count = Callable[[Answer, Answer], Array]
"""From a reference and a hypothesis to matches, things in the reference, things in the hypothesis."""


def f_metrics(name: str, things: str, count: Count, signature: str) -> tuple[AdditiveMetric, AdditiveMetric]:
    """Return the metrics `name`, of the counts of all clips together, and ``NAME_track``, the mean over clips.

    Parameters
    ----------
    name
        Of the first.
    things
        What is counted: ``beats``.
    count
        What matches.
    signature
        How things are matched.
    """
    columns = ("matches", f"reference_{things}", f"hypothesis_{things}")
    return (
        AdditiveMetric(name, columns, True, "%", count, lambda s: 100.0 * f_measure(s), f"{signature}|counts pooled"),
        AdditiveMetric(
            f"{name}_track",
            ("f", "tracks"),
            True,
            "%",
            _per_track(count),
            lambda s: 100.0 * ratio(s[..., 0], s[..., 1]),
            f"{signature}|mean over tracks that have any",
        ),
    )


def f_measure(counts: Array) -> Array:
    """Return the F-measure of ``[..., (matches, in the reference, in the hypothesis)]``; NaN where there is nothing."""
    return ratio(2 * counts[..., 0], counts[..., 1] + counts[..., 2])


def _per_track(count: Count) -> Count:
    def statistics(reference: Answer, hypothesis: Answer) -> Array:
        f = float(f_measure(count(reference, hypothesis)))
        return np.zeros(2) if np.isnan(f) else np.array([f, 1.0])

    return statistics
