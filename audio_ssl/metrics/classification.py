"""Macro F1 and unweighted average recall, from counts per class.

The counts add up over clips, so a bootstrap replicate is scored from its sums; a class that a replicate lacks is left
out of that replicate's mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from audio_ssl.errors import UserError
from audio_ssl.metrics.additive import AdditiveMetric, Answer, Array, as_text, ratio


def macro_f1(classes: Sequence[str]) -> AdditiveMetric:
    """Return the mean of the F1 of each class that occurs in the references or the hypotheses.

    Equal to scikit-learn's ``f1_score(average="macro")`` without ``labels``. Answers are a label, or a list of them
    (tags); order and repetition do not count.
    """
    index = _index(classes)

    def counts(reference: Answer, hypothesis: Answer) -> Array:
        said, right = _columns("macro_f1", index, hypothesis), _columns("macro_f1", index, reference)
        result = np.zeros((3, len(index)))
        result[0, list(said & right)] = 1
        result[1, list(said - right)] = 1
        result[2, list(right - said)] = 1
        return result.ravel()

    def score(sums: Array) -> Array:
        hit, false, missed = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, len(index)), -2, 0)
        return _mean_of_defined(ratio(2 * hit, 2 * hit + false + missed))

    return _metric("macro_f1", ("hit", "false", "missed"), classes, counts, score, "in reference or hypothesis")


def uar(classes: Sequence[str]) -> AdditiveMetric:
    """Return the unweighted average recall: the mean of the recall of each class that occurs in the references.

    Equal to scikit-learn's ``balanced_accuracy_score``.
    """
    index = _index(classes)

    def counts(reference: Answer, hypothesis: Answer) -> Array:
        (right,) = _columns("uar", index, as_text(reference))
        result = np.zeros((2, len(index)))
        result[:, right] = float(reference == hypothesis), 1.0
        return result.ravel()

    def score(sums: Array) -> Array:
        hit, clips = np.moveaxis(sums.reshape(*sums.shape[:-1], 2, len(index)), -2, 0)
        return _mean_of_defined(ratio(hit, clips))

    return _metric("uar", ("hit", "clips"), classes, counts, score, "in reference")


def _metric(
    name: str,
    kinds: Sequence[str],
    classes: Sequence[str],
    counts: Callable[[Answer, Answer], Array],
    score: Callable[[Array], Array],
    over: str,
) -> AdditiveMetric:
    columns = tuple(f"{kind}:{one}" for kind in kinds for one in classes)
    return AdditiveMetric(name, columns, True, "%", counts, score, f"average:macro over classes {over}")


def _index(classes: Sequence[str]) -> dict[str, int]:
    index = {name: position for position, name in enumerate(classes)}
    if len(index) != len(classes):
        twice = sorted({name for name in classes if list(classes).count(name) > 1})
        raise UserError(f"`classes` must differ, but `{twice[0]}` occurs more than once")
    return index


def _columns(metric: str, index: dict[str, int], answer: Answer) -> set[int]:
    labels = [answer] if isinstance(answer, str) else [str(label) for label in answer]
    if not index:
        raise UserError(f"metric `{metric}` needs `classes`, the names that labels may have", remedy="give them")
    for label in labels:
        if label not in index:
            raise UserError(f"label `{label}` is none of the {len(index)} `classes` of metric `{metric}`")
    return {index[label] for label in labels}


def _mean_of_defined(values: Array) -> Array:
    """Average over the last axis, in percent, leaving NaN out; NaN if all are."""
    defined = np.isfinite(values)
    return 100.0 * ratio(np.where(defined, values, 0.0).sum(-1), defined.sum(-1).astype(np.float64))
