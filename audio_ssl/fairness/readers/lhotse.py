"""Predictions in lhotse's cuts: the hypothesis is a custom value of the cut or its supervision."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from audio_ssl.data.lhotse import cut_row
from audio_ssl.fairness.readers.source import Numbered, Refuse, Row, Source, join_notes

HYPOTHESES = ("hypothesis", "pred_text", "hyp", "prediction")
"""Names of custom values that are tried, the first that is there."""


def as_ours(row: Row) -> Row:
    """Return a cut under our names.

    Raises
    ------
    ValueError
        If it is no span of one file.
    """
    ours = cut_row(row)
    if "reference" not in ours and "text" in ours:
        ours["reference"] = ours.pop("text")
    if "hypothesis" not in ours:
        name = next((name for name in HYPOTHESES if name in ours), None)
        if name is not None:
            ours["hypothesis"] = ours.pop(name)
    return ours


def adapt(source: Source, first: Collection[Row]) -> Source:
    """Return cuts as rows under our names; `first` tells which columns there are."""

    def rows(wanted: Collection[str], refuse: Refuse) -> Numbered:
        for number, row in source.rows(wanted, refuse):
            try:
                yield number, as_ours(row)
            except (ValueError, TypeError) as error:
                refuse(number, str(error))

    columns: dict[str, None] = {}
    for row in first:
        try:
            columns |= dict.fromkeys(as_ours(row))
        except (ValueError, TypeError):
            continue
    return replace(source, columns=tuple(columns), rows=rows, note=join_notes(source.note, "lhotse's cuts"))
