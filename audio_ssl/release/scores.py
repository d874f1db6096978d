"""What a model scored, from the results of ``benchmarks/learning.py``: its rows, and those of what it stands beside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from audio_ssl.documents import JsonObject, as_object, find, read_object
from audio_ssl.errors import unknown_name
from audio_ssl.shipped.facts import PairedGap, ScoreRow

_LOWER_IS_BETTER = ("CER", "WER", "PER", "EER", "ABX")
_NEEDED = ("system", "task", "metric", "value", "low", "high")


def scores_of(results: Path, system: str) -> tuple[tuple[ScoreRow, ...], tuple[PairedGap, ...]]:
    """Return the scores of a system and of all others in the tasks that it was asked, and its gaps to them.

    Parameters
    ----------
    results
        ``benchmarks/results/learning.json``: sections with ``rows`` and, of comparisons clip by clip, ``pairs``.
    system
        What the model is called there.

    Raises
    ------
    UserError
        If a row lacks a key, or no row is of this system.
    """
    sections = {name: one for name, one in read_object(results).items() if isinstance(one, dict)}
    rows = [_row(row, where) for row, where in _items(sections, "rows", results)]
    asked = {row.task for row in rows if row.system == system}
    if not asked:
        raise unknown_name("system", system, {row.system for row in rows}, where=str(results))
    gaps = [
        _gap(row, where)
        for row, where in _items(sections, "pairs", results)
        if as_object(row, where)["model"] == system
    ]
    return tuple(row for row in rows if row.task in asked), tuple(gaps)


def _items(sections: Mapping[str, JsonObject], key: str, results: Path) -> Iterator[tuple[object, str]]:
    for name, section in sections.items():
        found = section.get(key)
        if isinstance(found, list):
            yield from ((row, f"{results}: $.{name}.{key}[{number}]") for number, row in enumerate(found))


def _gap(item: object, where: str) -> PairedGap:
    row = as_object(item, where)
    covered = row.get("covered")
    task, other = find(row, "task", str, where), find(row, "other", str, where)
    value, low, high = (float(find(row, key, float, where)) for key in ("value", "low", "high"))
    way = covered if isinstance(covered, float) else None
    return PairedGap(task, other, value, low, high, bool(row.get("peer")), way)


def _row(value: object, where: str) -> ScoreRow:
    row = as_object(value, where)
    system, task, metric = (find(row, key, str, where) for key in _NEEDED[:3])
    score, low, high = (float(find(row, key, float, where)) for key in _NEEDED[3:])
    layer = row.get("layer")
    higher = not metric.upper().startswith(_LOWER_IS_BETTER)
    return ScoreRow(task, system, metric, score, low, high, higher, layer if isinstance(layer, int) else None)
