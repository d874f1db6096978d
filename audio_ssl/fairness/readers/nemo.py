"""NeMo's predictions: JSON Lines with ``audio_filepath, text, pred_text, duration, offset`` and what its manifest had.

There are no ids: the audio file's path is one, with the ``offset`` of a segment behind it, unless rows have an ``id``
all the same. Manifests of multilingual models (Canary) may have the reference in ``answer``, and say by ``source_lang``
and ``target_lang`` that they are translations.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from audio_ssl.data.segments import segment_id
from audio_ssl.fairness.readers.source import Numbered, Refuse, Row, Source, join_notes

_OURS = {"text": "reference", "pred_text": "hypothesis", "duration": "seconds", "speaker_id": "speaker"}
_NO_ANSWER = ("na", "")


def is_nemo(columns: Collection[str]) -> bool:
    """Tell by the keys; rows with our own names for both texts are ours.

    Examples
    --------
    >>> is_nemo(["audio_filepath", "text", "pred_text"]), is_nemo(["id", "reference", "hypothesis"])
    (True, False)
    """
    return ("pred_text" in columns or "audio_filepath" in columns) and "hypothesis" not in columns


def as_ours(row: Row) -> Row:
    """Return a row under our names.

    Raises
    ------
    ValueError
        If the offset is no number of seconds.

    Examples
    --------
    >>> as_ours({"audio_filepath": "a.wav", "offset": 2.5, "text": "yes", "pred_text": "yes"})["id"]
    'a.wav@2.5'
    """
    ours: dict[str, Any] = {}
    for name, value in row.items():
        new = _OURS.get(name, name)
        ours[name if new in row else new] = value
    answer = row.get("answer")
    if isinstance(answer, str) and answer not in _NO_ANSWER and "reference" not in row:
        ours["reference"] = answer
    if "id" not in row and row.get("audio_filepath"):
        ours["id"] = segment_id(str(row["audio_filepath"]), row.get("offset"))
    return ours


def adapt(source: Source, translations: bool) -> Source:
    """Return a table of NeMo's columns under our names; `translations`: what its languages say."""

    def rows(wanted: Collection[str], refuse: Refuse) -> Numbered:
        for number, row in source.rows([*wanted, *_OURS, "audio_filepath", "offset", "answer"], refuse):
            try:
                yield number, as_ours(row)
            except ValueError as error:
                refuse(number, f"`offset`: {error}")

    return replace(
        source,
        columns=tuple(as_ours(dict.fromkeys(source.columns)) | ({} if "id" in source.columns else {"id": None})),
        rows=rows,
        path_column=None if "id" in source.columns else "audio_filepath",
        note=join_notes(source.note, "NeMo's columns"),
        task="st" if translations else None,
    )


def translates(rows: Collection[Row]) -> bool:
    """Return whether what was said is in another language than what is written, in all rows that say so."""
    said = [(row.get("source_lang"), row.get("target_lang")) for row in rows]
    pairs = [pair for pair in said if all(pair)]
    return bool(pairs) and all(source != target for source, target in pairs)
