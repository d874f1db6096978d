"""NeMo's predictions: JSON Lines with ``audio_filepath, text, pred_text, duration`` and whatever its manifest had.

There are no ids: the audio file's path is one, unless rows have an ``id`` all the same.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

_OURS = {"text": "reference", "pred_text": "hypothesis", "duration": "seconds"}


def is_nemo(columns: Collection[str]) -> bool:
    """Tell by the keys; rows with our own names for both texts are ours.

    Examples
    --------
    >>> is_nemo(["audio_filepath", "text", "pred_text"]), is_nemo(["id", "reference", "hypothesis"])
    (True, False)
    """
    return ("pred_text" in columns or "audio_filepath" in columns) and "hypothesis" not in columns


def as_ours(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row under our names.

    Examples
    --------
    >>> as_ours({"audio_filepath": "a.wav", "text": "yes", "pred_text": "yes"})["id"]
    'a.wav'
    """
    ours = {_OURS.get(name, name) if _OURS.get(name) not in row else name: value for name, value in row.items()}
    if "id" not in row and "audio_filepath" in row:
        ours["id"] = row["audio_filepath"]
    return ours
