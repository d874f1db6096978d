"""What a model scored, from the results of ``benchmarks/learning.py``: its rows, and those of what it stands beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from audio_ssl.documents import find, read_object
from audio_ssl.errors import UserError, unknown_name
from audio_ssl.shipped.facts import ScoreRow

_LOWER_IS_BETTER = ("CER", "WER", "PER", "EER", "ABX")
_NEEDED = ("system", "task", "metric", "value", "low", "high")


def scores_of(results: Path, system: str) -> tuple[ScoreRow, ...]:
    """Return the scores of a system and of all others in the tasks that it was asked.

    Parameters
    ----------
    results
        ``benchmarks/results/learning.json``: sections with ``rows``.
    system
        What the model is called there.

    Raises
    ------
    UserError
        If a row lacks a key, or no row is of this system.
    """
    rows = [
        _row(row, f"{results}: $.{name}.rows[{number}]")
        for name, section in read_object(results).items()
        if isinstance(section, dict) and isinstance(section.get("rows"), list)
        for number, row in enumerate(section["rows"])
    ]
    asked = {row.task for row in rows if row.system == system}
    if not asked:
        raise unknown_name("system", system, {row.system for row in rows}, where=str(results))
    return tuple(row for row in rows if row.task in asked)


def _row(row: Any, where: str) -> ScoreRow:
    if not isinstance(row, dict):
        raise UserError("must be an object", where=where)
    system, task, metric = (find(row, key, str, where) for key in _NEEDED[:3])
    value, low, high = (float(find(row, key, float, where)) for key in _NEEDED[3:])
    layer = row.get("layer")
    higher = not metric.upper().startswith(_LOWER_IS_BETTER)
    return ScoreRow(task, system, metric, value, low, high, higher, layer if isinstance(layer, int) else None)
