"""A run as a report shows it: its curves, where they begin and end, what was left out, where the run came from.

Training curves short enough to draw: at most `MAX_POINTS` points, each with its mean, lowest and highest raw value.

A run of 400,000 steps and one of 400 give figures of the same size, and no spike is lost: the band keeps every bin's
extremes. The smooth line is a centred moving average of the bins; an exponential one would lag behind.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_ssl.artifacts.recipe_outline import RECIPE_FILE, RecipeOutline
from audio_ssl.artifacts.reconstructions import Reconstructions
from audio_ssl.artifacts.records import from_json
from audio_ssl.artifacts.run import RunFolder, RunRecord, UpdateRow
from audio_ssl.base.documents import JsonObject
from audio_ssl.pretrain.guards import AlikeAtEnd, CollapseGuard, alike_at_end


@dataclass(frozen=True)
class RunCurve:
    """One metric over the steps, short enough to draw; the four have one length."""

    steps: tuple[float, ...]
    mean: tuple[float, ...]
    """Smoothed."""
    low: tuple[float, ...]
    """Lowest raw value of each point; `high` is the highest."""
    high: tuple[float, ...]


@dataclass(frozen=True)
class LeftOutReason:
    """Why clips were left out, and how many."""

    reason: str
    count: int


@dataclass(frozen=True)
class LeftOutCounts:
    """Clips that were left out, by reason, the commonest first."""

    count: int = 0
    reasons: tuple[LeftOutReason, ...] = ()


@dataclass(frozen=True)
class RunSummary:
    """What a report says of a run; a part of ``report.json``."""

    name: str
    path: str
    kind: str | None
    """Of the recipe; None: not known."""
    steps: int
    """Updates done."""
    steps_planned: int | None
    skipped_steps: float | None
    audio_seconds_per_second: float | None
    """Median over the updates."""
    first: dict[str, float]
    """Smoothed value of each metric at the first point; `last` has those at the last point."""
    last: dict[str, float]
    curves: dict[str, RunCurve]
    alike: AlikeAtEnd | None
    """None: neither targets nor predictions are all alike."""
    errors: LeftOutCounts
    teachers: tuple[RunSummary, ...]
    """Those that were trained for the run."""
    reconstructions: Reconstructions
    recipe: JsonObject
    """As it was written."""
    provenance: RunRecord


def summarise_run(run: RunFolder, home: Path) -> RunSummary:
    """Summarise a run for a report.

    Parameters
    ----------
    run
        As read from its folder.
    home
        The report's folder; paths are given relative to it where they lie below it.
    """
    curves = make_curves(run.updates)
    return RunSummary(
        name=run.path.name,
        path=relative(run.path, home),
        kind=run.recipe.kind,
        steps=max((row.step for row in run.updates), default=0),
        steps_planned=run.recipe.steps,
        skipped_steps=_last(run.updates, "skipped_steps"),
        audio_seconds_per_second=_median(run.updates, "audio_seconds_per_second"),
        first={key: curve.mean[0] for key, curve in curves.items()},
        last={key: curve.mean[-1] for key, curve in curves.items()},
        curves=curves,
        alike=find_alike(run.updates, run.recipe),
        errors=count_reasons(run.errors),
        teachers=tuple(summarise_run(teacher, home) for teacher in run.teachers),
        reconstructions=run.reconstructions,
        recipe=run.recipe.as_written,
        provenance=run.record,
    )


def find_alike(rows: Sequence[UpdateRow], recipe: RecipeOutline) -> AlikeAtEnd | None:
    """Return by which metrics targets or predictions are all alike at the end of a run; None where they are not."""
    found = alike_at_end(rows, _guard(recipe))
    return found if found.targets or found.predictions else None


def _guard(recipe: RecipeOutline) -> CollapseGuard:
    """Return what the run itself took for alike, or the defaults where it looked at nothing."""
    given = recipe.guards.collapse if recipe.guards is not None else None
    return CollapseGuard() if given is None else from_json(CollapseGuard, given, f"{RECIPE_FILE}: $.guards.collapse")


def relative(path: Path, home: Path) -> str:
    """Write `path` relative to `home` where it lies below it, else as it was given."""
    inside, below = path.resolve(), home.resolve()
    return inside.relative_to(below).as_posix() if inside.is_relative_to(below) and inside != below else str(path)


def count_reasons(rows: Iterable[Mapping[str, object] | str]) -> LeftOutCounts:
    """Count left-out clips by reason, commonest first.

    Examples
    --------
    >>> count_reasons([{"path": "a.wav", "reason": "empty file"}, {"path": "b.wav", "reason": "empty file"}])
    LeftOutCounts(count=2, reasons=(LeftOutReason(reason='empty file', count=2),))
    """
    found = Counter(
        str(row.get("reason") or "no reason given") if isinstance(row, Mapping) else "no reason given" for row in rows
    )
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return LeftOutCounts(sum(found.values()), tuple(LeftOutReason(reason, count) for reason, count in ordered))


def _last(rows: Iterable[UpdateRow], key: str) -> float | None:
    values = [value for row in rows if (value := row.number(key)) is not None]
    return values[-1] if values else None


def _median(rows: Iterable[UpdateRow], key: str) -> float | None:
    values = sorted(value for row in rows if (value := row.number(key)) is not None)
    return values[len(values) // 2] if values else None


MAX_POINTS = 160
_NOT_CURVES = {"epoch", "position", "time", "seconds", "skipped_steps", "audio_seconds"}
_EXACT = {"lr"}
"""Set by a schedule, not measured: there is no noise to smooth away."""
_FAMILY = re.compile(r"(?P<base>.+?)_(?P<member>\d+)")


@dataclass(frozen=True)
class Family:
    """Curves that belong in one figure: a single quantity, or one per codebook."""

    name: str
    members: tuple[str, ...]
    """Keys of the curves, in order."""
    labels: tuple[str, ...]
    """What tells the members apart; one empty string for a single quantity."""


def make_curves(rows: Iterable[UpdateRow]) -> dict[str, RunCurve]:
    """Turn the rows of ``metrics.jsonl`` into curves.

    Parameters
    ----------
    rows
        Where a step occurs twice, as after a resume, the later row counts.

    Returns
    -------
    dict
        Name of a metric to its curve.
    """
    values: dict[str, dict[float, float]] = {}
    for row in rows:
        for key, value in row.values.items():
            if value is not None and key not in _NOT_CURVES:
                values.setdefault(key, {})[float(row.step)] = float(value)
    return {key: _bin(sorted(points.items()), key not in _EXACT) for key, points in values.items()}


def _bin(points: Sequence[tuple[float, float]], smooth: bool) -> RunCurve:
    width = -(-len(points) // MAX_POINTS)
    bins = [points[start : start + width] for start in range(0, len(points), width)]
    means = [sum(value for _, value in one) / len(one) for one in bins]
    return RunCurve(
        steps=tuple(one[len(one) // 2][0] for one in bins),
        mean=tuple(_short(value) for value in (_smooth(means) if smooth else means)),
        low=tuple(_short(min(value for _, value in one)) for one in bins),
        high=tuple(_short(max(value for _, value in one)) for one in bins),
    )


def _smooth(values: Sequence[float]) -> list[float]:
    reach = len(values) // 40
    out = []
    for index in range(len(values)):
        # Near the ends the window shrinks, so that they are not pulled inwards, but to no less than half.
        near = max(min(reach, index, len(values) - 1 - index), reach // 2)
        window = values[max(index - near, 0) : index + near + 1]
        out.append(sum(window) / len(window))
    return out


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def families(keys: Iterable[str]) -> list[Family]:
    """Group the keys of curves: ``accuracy_0`` … ``accuracy_7`` become one family, the rest stand alone.

    Examples
    --------
    >>> [(one.name, one.labels) for one in families(["loss", "accuracy_0", "accuracy_1"])]
    [('loss', ('',)), ('accuracy', ('0', '1'))]
    """
    grouped: dict[str, list[tuple[int, str]]] = {}
    single: dict[str, str] = {}
    for key in keys:
        match = _FAMILY.fullmatch(key)
        if match:
            grouped.setdefault(match["base"], []).append((int(match["member"]), key))
            single.setdefault(match["base"], "")
        else:
            single[key] = key
    out = []
    for name, key in single.items():
        if key:
            out.append(Family(name, (key,), ("",)))
        if name in grouped:
            members = sorted(grouped[name])
            labels = tuple(str(index) for index, _ in members)
            out.append(Family(name, tuple(member for _, member in members), labels))
    return out
