"""Metrics of discrete units: how much they say of phones, and what they cost.

Of frames with a phone and a code (Hsu et al. 2021, arXiv 2106.07447, section V-A; fairseq's
``measure_teacher_quality.py``): *phone purity*, the share of frames that have the commonest phone of their code;
*cluster purity*, the share that have the commonest code of their phone; *PNMI*, the share of the phones' entropy that
the codes explain, ``I(phone; code) / H(phone)``.

Bitrate (ZeroSpeech 2019, Dunbar et al., arXiv 1904.11469): ``N / D * H`` bits a second, where N units last D seconds
and H is the entropy of their distribution. How long a merged unit lasts is not counted, as there. Of several codebooks
the entropies are added, as each has a symbol of its own.

Each is a ratio of sums over frames or units, whose terms come from the counts of all: the information of a pair of
phone and code, the bits of a unit. Intervals resample the sums of speakers with these terms fixed (the delta method).
Counting anew in each resample would not do: with fewer different speakers entropies are lower and purities higher, so
that a value lies at the edge of its own interval.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from audio_ssl.metrics.metric import Array, ComparisonMetric, share


class Terms(NamedTuple):
    """What a frame adds to the numerator and to the denominator of a metric, ``[phone, code]``."""

    metric: str
    above: Array
    below: Array


def phone_terms(joint: Array) -> list[Terms]:
    """Return the terms of PNMI, phone purity and cluster purity.

    Parameters
    ----------
    joint
        Frames of each phone and code, ``[phone, code]``.

    Examples
    --------
    >>> joint = np.array([[3.0, 1.0], [0.0, 4.0]])
    >>> {one.metric: round(score_of(joint, one), 1) for one in phone_terms(joint)}
    {'pnmi': 54.9, 'phone_purity': 87.5, 'cluster_purity': 87.5}
    """
    both = joint / max(joint.sum(), 1.0)
    of_phone, of_code = both.sum(1, keepdims=True), both.sum(0, keepdims=True)
    chance = np.where(both > 0, of_phone * of_code, 1.0)
    information = np.log(np.where(both > 0, both, 1.0) / chance)
    surprise = -np.log(np.where(of_phone > 0, of_phone, 1.0)) + np.zeros_like(both)
    phones, codes = np.indices(joint.shape)
    every = np.ones_like(both)
    return [
        Terms("pnmi", information, surprise),
        Terms("phone_purity", (phones == joint.argmax(0)[None]).astype(np.float64), every),
        Terms("cluster_purity", (codes == joint.argmax(1)[:, None]).astype(np.float64), every),
    ]


def score_of(joint: Array, terms: Terms) -> float:
    """Return the metric of counts ``[phone, code]``, in percent."""
    return float(share(np.array([(joint * terms.above).sum(), (joint * terms.below).sum()])))


def unit_bits(counts: Array) -> Array:
    """Return the bits of each unit, ``-log2`` of its share; 0 of units that do not occur.

    Parameters
    ----------
    counts
        How often each occurs, ``[unit]``.

    Examples
    --------
    >>> unit_bits(np.array([2.0, 1.0, 1.0, 0.0])).tolist()
    [1.0, 2.0, 2.0, 0.0]
    """
    shares = counts / max(counts.sum(), 1.0)
    return np.asarray(np.abs(np.log2(np.where(shares > 0, shares, 1.0))))


METRICS = (
    ComparisonMetric(name="pnmi", label="PNMI", phrase="phone-normalised mutual information"),
    ComparisonMetric(name="phone_purity", label="phone purity"),
    ComparisonMetric(name="cluster_purity", label="cluster purity"),
    ComparisonMetric(name="unit_rate", label="units a second", unit="1/s", higher_is_better=False),
    ComparisonMetric(name="unit_bitrate", label="bitrate", unit="bit/s", higher_is_better=False),
)
