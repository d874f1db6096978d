"""Logistic regressions of clip means: prepared in two ways, at several strengths of regularisation.

A linear layer could undo either way, but regularisation is of the numbers it is given. An untrained model's means are
best standardised, a trained one's best whitened (``docs/lab-notes.md``), so no one way is fair to both: every system's
questions are asked both ways, and clips that neither train nor count choose.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from _whitening import WAYS  # type: ignore[import-not-found]
from sklearn.linear_model import LogisticRegression

from audio_ssl.metrics.families.music import activation_counts

Array = npt.NDArray[np.float32]
Array64 = npt.NDArray[np.float64]
Answers = npt.NDArray[np.str_] | npt.NDArray[np.bool_]
"""``[clip]`` of names, of which each clip has one; or ``[clip, label]``, which labels it has."""

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Inverse regularisation, the strongest first."""

_ITERATIONS, _TOLERANCE = 200, 1e-3


def paths(train: Array, answers: Answers, others: Sequence[Array]) -> Iterator[Iterator[list[Array64]]]:
    """Yield for each way a course through the strengths, each step of it what is said of the other clips.

    Parameters
    ----------
    train
        ``[clip, dim]``.
    answers
        Of these clips.
    others
        ``[clip, dim]`` of clips to answer.

    Yields
    ------
    Courses; each step has, for each of `others`, names ``[clip]`` or log odds ``[clip, label]``.
    """
    for way in WAYS:
        scaling = way(torch.from_numpy(train))
        inputs, *rest = (scaling(torch.from_numpy(part)).numpy() for part in (train, *others))
        yield _course(inputs, answers, rest)


def _course(train: Array, answers: Answers, others: Sequence[Array]) -> Iterator[list[Array64]]:
    columns = [answers] if answers.ndim == 1 else list(answers.T)
    # Each fit starts from the one before it, of stronger regularisation.
    models = [LogisticRegression(max_iter=_ITERATIONS, tol=_TOLERANCE, warm_start=True) for _ in columns]
    for strength in STRENGTHS:
        for model, column in zip(models, columns, strict=True):
            model.set_params(C=strength).fit(train, column)
        if answers.ndim == 1:
            yield [models[0].predict(part) for part in others]
        else:
            yield [np.stack([model.decision_function(part) for model in models], axis=1) for part in others]


def metric(answers: Answers) -> str:
    """Return the score that `statistics` are of: accuracy, or the average precision over pairs of clip and label."""
    return "accuracy" if answers.ndim == 1 else "frame_ap"


def statistics(said: Array64, answers: Answers) -> Array64:
    """Return ``[clip, column]`` of what was said, as `_pairs.ClipCounts` counts it."""
    if answers.ndim == 1:
        return np.stack([said == answers, np.ones(len(answers))], axis=1).astype(np.float64)
    return np.stack([activation_counts(one[None], right[None]) for one, right in zip(said, answers, strict=True)])
