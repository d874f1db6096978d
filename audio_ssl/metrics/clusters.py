"""What belongs together when answers are drawn again: speakers, tracks, or what a probe names, such as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MIN_CLUSTERS = 5
"""Fewer speakers, tracks or sentences say too little about others: then clips are drawn."""


def choose_clusters(rows: Sequence[Mapping[str, Any]], column: str | None = None) -> tuple[list[str], str]:
    """Return what to resample and its name.

    Parameters
    ----------
    rows
        Of a manifest or of predictions: ``id``, perhaps ``speaker``, ``track`` and others.
    column
        Clips with one value in this column belong together; None: speakers, else tracks. Where there are fewer than
        five of them, or a row has none: clips.

    Examples
    --------
    >>> choose_clusters([{"id": str(n), "sentence": n // 2} for n in range(10)], "sentence")[1]
    'sentence'
    >>> choose_clusters([{"id": "a", "speaker": "x"}, {"id": "b", "speaker": "y"}])
    (['a', 'b'], 'clip')
    """
    for name in ("speaker", "track") if column is None else (column,):
        values = ["" if (value := row.get(name)) is None else str(value) for row in rows]
        if all(values) and len(set(values)) >= MIN_CLUSTERS:
            return values, "clip" if name == "id" else name.replace("_", " ")
    return [str(row["id"]) for row in rows], "clip"
