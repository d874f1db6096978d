"""A run folder as plain data: its curves, where it started and ended, what was left out, where it came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from audio_ssl.pretrain.guards import CollapseGuard, alike_at_end
from audio_ssl.report.curves import make_curves
from audio_ssl.report.inputs import RunFolder
from audio_ssl.report.numbers import finite


def describe_run(run: RunFolder, home: Path) -> dict[str, Any]:
    """Turn a run into the JSON of a report.

    Parameters
    ----------
    run
        As read from its folder.
    home
        The report's folder; paths are given relative to it where they lie below it.
    """
    curves = make_curves(run.metrics)
    steps = [step for row in run.metrics if (step := finite(row.get("step"))) is not None]
    return {
        "name": run.path.name,
        "path": relative(run.path, home),
        "kind": run.recipe.get("kind"),
        "steps": int(max(steps, default=0)),
        "steps_planned": run.recipe.get("steps"),
        "skipped_steps": _last(run.metrics, "skipped_steps"),
        "audio_seconds_per_second": _median(run.metrics, "audio_seconds_per_second"),
        "first": _ends(curves, 0),
        "last": _ends(curves, -1),
        "curves": curves,
        "alike": find_alike(run.metrics, run.recipe),
        "errors": count_reasons(run.errors),
        "teachers": [describe_run(teacher, home) for teacher in run.teachers],
        "reconstructions": run.reconstructions,
        "recipe": run.recipe,
        "provenance": run.provenance,
    }


def find_alike(rows: Iterable[Mapping[str, Any]], recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return by which metrics targets or predictions are all alike at the end of a run; None where they are not.

    Returns
    -------
    dict or None
        ``step``; ``targets`` and ``predictions``: metrics and their values, where these are all alike.
    """
    step, alike = alike_at_end(rows, _guard(recipe))
    return {"step": step, **alike} if alike else None


def _guard(recipe: Mapping[str, Any]) -> CollapseGuard:
    """Return what the run itself took for alike, or the defaults where it looked at nothing."""
    guards = recipe.get("guards")
    given = guards.get("collapse") if isinstance(guards, Mapping) else None
    if not isinstance(given, Mapping):
        return CollapseGuard()
    usual = CollapseGuard()
    return replace(
        usual,
        perplexity=finite(given.get("perplexity")) or usual.perplexity,
        target_variance=finite(given.get("target_variance", usual.target_variance)),
        prediction_variance=finite(given.get("prediction_variance", usual.prediction_variance)),
    )


def relative(path: Path, home: Path) -> str:
    """Write `path` relative to `home` where it lies below it, else as it was given."""
    inside, below = path.resolve(), home.resolve()
    return inside.relative_to(below).as_posix() if inside.is_relative_to(below) and inside != below else str(path)


def count_reasons(rows: Iterable[Mapping[str, Any] | str]) -> dict[str, Any]:
    """Count left-out clips by reason, commonest first.

    Examples
    --------
    >>> count_reasons([{"path": "a.wav", "reason": "empty file"}, {"path": "b.wav", "reason": "empty file"}])
    {'count': 2, 'reasons': [{'reason': 'empty file', 'count': 2}]}
    """
    found = Counter(
        str(row.get("reason") or "no reason given") if isinstance(row, Mapping) else "no reason given" for row in rows
    )
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return {
        "count": sum(found.values()),
        "reasons": [{"reason": reason, "count": count} for reason, count in ordered],
    }


def _ends(curves: Mapping[str, Mapping[str, list[float]]], index: int) -> dict[str, float]:
    return {key: curve["mean"][index] for key, curve in curves.items()}


def _last(rows: Iterable[Mapping[str, Any]], key: str) -> float | None:
    values = [value for row in rows if (value := finite(row.get(key))) is not None]
    return values[-1] if values else None


def _median(rows: Iterable[Mapping[str, Any]], key: str) -> float | None:
    values = sorted(value for row in rows if (value := finite(row.get(key))) is not None)
    return values[len(values) // 2] if values else None
