"""Metrics of classes and numbers: macro F1, unweighted average recall, coefficient of determination.

Counts of each class, or sums of squares, add up over clips, so a bootstrap replicate is scored from its sums. A class
that a replicate lacks is left out of that replicate's mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from audio_ssl.base.errors import UserError
from audio_ssl.metrics.metric import AdditiveMetric, Answer, Array, as_text, ratio


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

    return AdditiveMetric(
        name="macro_f1",
        label="macro F1",
        columns=_named(("hit", "false", "missed"), classes),
        per_clip=counts,
        score=score,
        signature_of=lambda: "average:macro over classes in reference or hypothesis",
        of_classes=macro_f1,
    )


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

    return AdditiveMetric(
        name="uar",
        label="UAR",
        phrase="mean recall",
        columns=_named(("hit", "clips"), classes),
        per_clip=counts,
        score=score,
        signature_of=lambda: "average:macro over classes in reference",
        of_classes=uar,
    )


def _named(kinds: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{kind}:{one}" for kind in kinds for one in classes)


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


# A variance is the difference of two sums; below this share of them it is rounding.
_ROUNDING = 1e-12


def r2(names: Sequence[str] = ()) -> AdditiveMetric:
    """Return R² of each number of an answer, averaged over the numbers, in percent.

    Equal to scikit-learn's ``r2_score(multioutput="uniform_average")``, but a number whose reference never varies has
    no R² and is left out of the mean, as are clips of which it is not a number (NaN) in the reference.

    Parameters
    ----------
    names
        Of the numbers, in their order (``["valence", "arousal"]``); if none are given, answers may have any count.
    """
    count = len(names)

    def statistics(reference: Answer, hypothesis: Answer) -> Array:
        right, said = _numbers(reference), _numbers(hypothesis)
        if len(right) != len(said) or (count and len(right) != count):
            wanted = f"{count} numbers ({', '.join(names)})" if count else "as many numbers as the reference has"
            raise UserError(f"metric `r2` takes {wanted}, but got {len(right)} and {len(said)}")
        return _squares(right, said)

    def score(sums: Array) -> Array:
        clips, total, squares, residuals = np.moveaxis(sums.reshape(*sums.shape[:-1], 4, -1), -2, 0)
        spread = squares - np.nan_to_num(ratio(total**2, clips))
        spread = np.where(spread > _ROUNDING * squares, spread, 0.0)
        values = 1.0 - ratio(residuals, spread)
        defined = spread > 0
        return 100.0 * ratio(np.where(defined, values, 0.0).sum(-1), defined.sum(-1).astype(np.float64))

    return AdditiveMetric(
        name="r2",
        label="R²",
        columns=_named(("clips", "sum", "squares", "squared_residuals"), names or ("value",)),
        per_clip=statistics,
        score=score,
        signature_of=lambda: "average:uniform over values that vary",
        of_classes=r2,
        of_numbers=_squares,
    )


def _squares(right: Array, said: Array) -> Array:
    """Return whether each number is known, it, its square, and the square of its error, ``[..., 4 x value]``."""
    known = np.isfinite(right)
    right = np.where(known, right, 0.0)
    residual = np.where(known, right - said, 0.0)
    parts = np.broadcast_arrays(known.astype(np.float64), right, right**2, residual**2)
    return np.stack(parts, -2).reshape(*parts[0].shape[:-1], -1)


def _numbers(answer: Answer) -> Array:
    if isinstance(answer, str) or any(isinstance(value, str) for value in answer):
        raise UserError(f"metric `r2` takes a list of numbers, but got {answer!r}")
    return np.array(answer, np.float64)


METRICS = (macro_f1(()), uar(()), r2(()))
