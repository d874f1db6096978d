"""What the layers of a model tell of an attribute, read from a result folder of the task `attribute`.

It stands beside the gaps of recognition; nothing is computed here.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from audio_ssl.artifacts.fairness_report import AttributeProbe
from audio_ssl.artifacts.records import from_json
from audio_ssl.base.documents import read_object
from audio_ssl.base.errors import UserError, shown

TASK = "attribute"
SCORES_FILE = "scores.json"
NUMBERS = (
    "value", "low", "high", "control", "control_low", "control_high",
    "compression", "control_compression", "selectivity",
)  # fmt: skip
"""Of a layer; those that are not defined are null."""

_KEPT = (
    "attribute", "metric", "value", "low", "high", "chosen", "groups", "folds", "shuffles", "majority_accuracy",
    "majority_uar", "speakers", "clips", "warning",
)  # fmt: skip


def is_representation(folder: Path) -> bool:
    """Tell whether a path is a result folder of this task; False for whatever cannot be read."""
    try:
        return bool(read_object(folder / SCORES_FILE).get("task") == TASK)
    except UserError:
        return False


def read_representation(folder: Path) -> AttributeProbe:
    """Return what the layers of a model tell, beside its baselines.

    ``layers`` has what each layer tells (``value``, balanced over the recorded values, in percent), with the interval
    over speakers; the same for values shuffled over speakers (``control``, the mean, with the lowest and highest
    shuffle); ``selectivity``, their difference; and how much shorter an online code is than a uniform one
    (``compression``). ``value``, ``low`` and ``high`` are of the layers chosen inside the folds.

    Raises
    ------
    UserError
        If the folder is no finished result of the task `attribute`, or what it says is damaged.
    """
    scores, found = _read(folder)
    baselines = sorted(path.parent for path in (folder / "baselines").glob(f"*/{SCORES_FILE}"))
    row = {
        "result": folder.resolve().name,
        "model": str(scores.get("model") or ""),
        "model_fingerprint": scores.get("model_fingerprint"),
        "path": str(folder),
        "signature": str(scores.get("signature") or ""),
        **{key: found.get(key) for key in _KEPT},
        "layers": _layers(found, folder),
        "baselines": {path.name: _layers(_read(path)[1], path) for path in baselines},
        "excluded": len(_list(scores, "excluded", folder)),
    }
    return from_json(AttributeProbe, row, f"{folder / SCORES_FILE}: $.representation", "run the probe again")


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    path = folder / SCORES_FILE
    scores = read_object(path, remedy="give the folder of a finished probe")
    task = scores.get("task")
    if task != TASK:
        raise UserError(f"a result of the task `{TASK}` is needed, but the task is `{task}`", where=str(path))
    found = scores.get("representation")
    if not isinstance(found, dict):
        raise UserError("`representation` must be an object", where=str(path), remedy="run the probe again")
    for key in ("attribute", "metric"):
        if not isinstance(found.get(key), str):
            raise UserError(f"`{key}` must be text, but is {shown(found.get(key))}", where=f"{path}: $.representation")
    return scores, found


def _layers(found: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    rows = []
    for place, one in enumerate(_list(found, "layers", folder)):
        where = f"{folder / SCORES_FILE}: $.representation.layers[{place}]"
        if not isinstance(one, dict) or not isinstance(one.get("layer"), int) or isinstance(one["layer"], bool):
            raise UserError("each layer must be an object with its number as `layer`", where=where)
        row: dict[str, Any] = {"layer": one["layer"]}
        for key in NUMBERS:
            value = one.get(key)
            if value is not None and not (isinstance(value, int | float) and not isinstance(value, bool)):
                raise UserError(f"`{key}` must be a number or null, but is {shown(value)}", where=where)
            row[key] = value if value is not None and math.isfinite(value) else None
        rows.append(row)
    if not rows:
        raise UserError("`layers` is empty", where=f"{folder / SCORES_FILE}: $.representation")
    return rows


def _list(found: dict[str, Any], key: str, folder: Path) -> list[Any]:
    value = found.get(key)
    if not isinstance(value, list):
        raise UserError(f"`{key}` must be a list, but is {shown(value)}", where=str(folder / SCORES_FILE))
    return value
