"""ROC-AUC and average precision, the metrics that are no sums: macro means over classes, by scikit-learn.

A class that has no positive or no negative clip has no ROC-AUC; it is left out of the mean and named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RankingScore:
    """A macro mean and what it is a mean of."""

    value: float
    """Mean over the classes, in percent; NaN when every class was left out."""

    per_class: dict[str, float]
    """In percent."""

    excluded: dict[str, str]
    """Classes left out, with the reason."""


def roc_auc_macro(labels: Labels, scores: Array, classes: Sequence[str]) -> RankingScore:
    """Return the macro ROC-AUC of ``labels [clip, class]`` and ``scores [clip, class]``."""
    return _macro(labels, scores, classes, roc_auc_score)


def average_precision_macro(labels: Labels, scores: Array, classes: Sequence[str]) -> RankingScore:
    """Return the macro average precision (MARBLE's AP) of ``labels`` and ``scores``, both ``[clip, class]``."""
    return _macro(labels, scores, classes, average_precision_score)


def _macro(labels: Labels, scores: Array, classes: Sequence[str], function: object) -> RankingScore:
    if labels.shape != scores.shape or labels.shape[1] != len(classes):
        raise ValueError(f"`labels` {labels.shape}, `scores` {scores.shape} and {len(classes)} `classes` do not fit")
    if not np.isfinite(scores).all():
        raise ValueError("`scores` must be finite")
    per_class: dict[str, float] = {}
    excluded: dict[str, str] = {}
    for index, name in enumerate(classes):
        positives = int(labels[:, index].sum())
        if positives in (0, len(labels)):
            excluded[name] = "no clip has it" if positives == 0 else "every clip has it"
            continue
        per_class[name] = 100.0 * float(function(labels[:, index], scores[:, index]))  # type: ignore[operator]
    value = float(np.mean(list(per_class.values()))) if per_class else float("nan")
    return RankingScore(value, per_class, excluded)
