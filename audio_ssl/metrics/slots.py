"""Slot filling as SUPERB scores it (Yang et al. 2021, arXiv 2105.01051; s3prl's `slot_type_f1` and `slot_value_cer`).

Answers are text with marked slots, ``play <artist>queen</artist> now``. A mark without its end is no slot; marks inside
a slot's value are not part of it.
"""

from __future__ import annotations

import re

import numpy as np

from audio_ssl.metrics.additive import AdditiveMetric, Answer, Array, as_text, ratio
from audio_ssl.metrics.text import edits, error_rate

_SLOT = re.compile(r"<([^\s<>/]+)>(.+?)</\1>")
_MARK = re.compile(r"</?[^\s<>/]+>")


def slots(text: str) -> dict[str, list[str]]:
    """Return the values of each slot type, in their order.

    Examples
    --------
    >>> slots("play <song>help</song> and <song>yesterday</song> by <artist>the beatles</artist>")
    {'song': ['help', 'yesterday'], 'artist': ['the beatles']}
    """
    found: dict[str, list[str]] = {}
    for kind, value in _SLOT.findall(text):
        words = " ".join(_MARK.sub(" ", value).split())
        if words:
            found.setdefault(kind, []).append(words)
    return found


def _type_f1(reference: Answer, hypothesis: Answer) -> Array:
    right, said = set(slots(as_text(reference))), set(slots(as_text(hypothesis)))
    # Nothing to find and nothing found is right.
    f1 = 2 * len(right & said) / (len(right) + len(said)) if right or said else 1.0
    return np.array([f1, 1.0])


def _value_edits(reference: Answer, hypothesis: Answer) -> Array:
    said = slots(as_text(hypothesis))
    total = np.zeros(4)
    for kind, values in slots(as_text(reference)).items():
        for value in values:
            candidates = [edits(value, other, characters=True) for other in said.get(kind, [""])]
            total += min(candidates, key=lambda counts: float(counts[:3].sum()))
    return total


SLOT_F1 = AdditiveMetric(
    "slot_f1",
    ("f1", "clips"),
    True,
    "%",
    _type_f1,
    lambda s: 100.0 * ratio(s[..., 0], s[..., 1]),
    "slot types, as sets|mean over clips",
)
"""F1 of the set of slot types of each clip, averaged over clips."""

SLOT_CER = AdditiveMetric(
    "slot_cer",
    ("substitutions", "deletions", "insertions", "characters"),
    False,
    "%",
    _value_edits,
    error_rate,
    "slot values|nearest value of the same type, else empty|spaces count",
)
"""Character error rate of the reference's slot values, each against the nearest value of the same type."""
