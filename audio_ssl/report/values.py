"""Tasks that ask for numbers: reference and answer of each clip, number by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audio_ssl.report.numbers import is_number

_MOST_POINTS = 400
_MOST_VALUES = 4


def describe_values(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], metrics: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Pair references with answers.

    Parameters
    ----------
    rows
        Predictions whose ``reference`` and ``hypothesis`` are lists of numbers, as many each time.
    names
        Of the numbers.
    metrics
        The probe's scores; only probes with ``r2`` ask for values (lists of times are numbers, too).

    Returns
    -------
    list
        For each of the first four numbers: ``name``, ``points [[reference, answer]]`` (at most 400, evenly spread) and
        ``clips``, how many there are in all.
    """
    if "r2" not in metrics or not rows:
        return []
    width = len(names) or _width(rows[0].get("reference"))
    kept = [row for row in rows if _width(row.get("reference")) == _width(row.get("hypothesis")) == width]
    out = []
    for place in range(min(width, _MOST_VALUES)):
        pairs = [(row["reference"][place], row["hypothesis"][place]) for row in kept]
        points = [[float(f"{x:.5g}"), float(f"{y:.5g}")] for x, y in pairs if is_number(x) and is_number(y)]
        if len(points) > 1:
            step = max(1.0, len(points) / _MOST_POINTS)
            spread = [points[int(index * step)] for index in range(min(len(points), _MOST_POINTS))]
            name = names[place] if place < len(names) else f"value {place + 1}"
            out.append({"name": name, "points": spread, "clips": len(points)})
    return out


def _width(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0
