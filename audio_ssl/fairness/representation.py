"""What a model's layers tell of an attribute, read from a result folder of the task `attribute`."""

from __future__ import annotations

from pathlib import Path

from audio_ssl.artifacts.fairness_report import AttributeProbe, LayerScore
from audio_ssl.artifacts.result import SCORES_FILE, AttributeScores, ProbeScores, baselines_of, read_scores
from audio_ssl.base.documents import read_object
from audio_ssl.base.errors import UserError

TASK = "attribute"


def is_representation(folder: Path) -> bool:
    """Return whether a path is a result folder of this task; False if it names no task."""
    try:
        # Whatever else is damaged is named by `read_representation`.
        return bool(read_object(folder / SCORES_FILE).get("task") == TASK)
    except UserError:
        return False


def read_representation(folder: Path) -> AttributeProbe:
    """Return the probe of an attribute in the layers of a model and of its baselines.

    Each layer has its balanced accuracy in percent (``value``) with a confidence interval over speakers; the same with
    values permuted over speakers (``control``, the mean, with the lowest and highest); the difference of both
    (``selectivity``); and the length of a uniform code over that of an online code (``compression``). ``value``,
    ``low`` and ``high`` of the probe are those of the layers chosen within the folds.

    Raises
    ------
    UserError
        If the folder is no finished result of the task `attribute`, or what it says is damaged.
    """
    scores, found = _read(folder)
    return AttributeProbe(
        result=folder.resolve().name,
        model=scores.model,
        model_fingerprint=scores.model_fingerprint,
        path=str(folder),
        signature=scores.signature,
        attribute=found.attribute,
        metric=found.metric,
        value=found.value,
        low=found.low,
        high=found.high,
        chosen=found.chosen,
        groups=found.groups,
        folds=found.folds,
        shuffles=found.shuffles,
        majority_accuracy=found.majority_accuracy,
        majority_uar=found.majority_uar,
        speakers=found.speakers,
        clips=found.clips,
        warning=found.warning,
        layers=_layers(found),
        baselines={below.name: _layers(_read(below)[1]) for below in baselines_of(folder)},
        excluded=len(scores.excluded),
    )


def _read(folder: Path) -> tuple[ProbeScores, AttributeScores]:
    path = folder / SCORES_FILE
    scores = read_scores(folder, remedy="give the folder of a finished probe")
    if scores.task != TASK:
        raise UserError(f"a result of the task `{TASK}` is needed, but the task is `{scores.task}`", where=str(path))
    found = scores.representation
    if found is None or not found.layers:
        raise UserError("`representation` has no layers", where=str(path), remedy="run the probe again")
    return scores, found


def _layers(found: AttributeScores) -> tuple[LayerScore, ...]:
    return tuple(LayerScore(**vars(layer)) for layer in found.layers)
