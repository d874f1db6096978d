"""The `fairness` stage: scores of groups of speakers, the gaps between them, and what may be concluded.

Zanon Boito et al. 2022 (arXiv 2204.01397) compare the scores of women and men; what is added here is uncertainty over
speakers: intervals by resampling them, p-values by permuting the label over them, and no inference below five
speakers a group.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_ssl.errors import UserError
from audio_ssl.fairness.gaps import direction, relative_symmetric, relative_to
from audio_ssl.fairness.permutation import permutation_test
from audio_ssl.fairness.predictions import Table, read_predictions, require_attributes
from audio_ssl.metrics.additive import AdditiveMetric, get_metric
from audio_ssl.metrics.bootstrap import cluster_bootstrap, cluster_sums, difference_interval

MIN_SPEAKERS = 5
"""Fewer speakers in a group: the table is shown, inference is refused."""

WARN_BELOW_SPEAKERS = 20
"""Fewer speakers in a group: inference is made with a warning."""

UNKNOWN = "unknown"
REPLICATES = 10_000

LIMITS = (
    "A gap on these clips is a statement about these clips and these speakers.",
    "Groups are as the corpus recorded them; nothing about a person was inferred.",
    "Groups can differ in what they said, how fast, and how they were recorded; the audit does not explain a gap.",
)


@dataclass(frozen=True)
class FairnessResult:
    """What an audit found; `to_json` is the ``report.json`` other programs read."""

    groups: list[dict[str, Any]]
    comparisons: list[dict[str, Any]]
    excluded: list[dict[str, Any]]
    provenance: dict[str, Any]
    limits: Sequence[str] = field(default=LIMITS)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; what is not defined is null."""
        return {
            "groups": [_finite(row) for row in self.groups],
            "comparisons": [_finite(row) for row in self.comparisons],
            "excluded": self.excluded,
            "limits": list(self.limits),
            "provenance": self.provenance,
        }


@dataclass(frozen=True)
class _Group:
    name: str
    rows: list[dict[str, Any]]
    statistics: npt.NDArray[np.float64]
    """``[clip, column]`` of one metric."""

    @property
    def speakers(self) -> list[str]:
        return [_speaker(row) for row in self.rows]

    def sums(self) -> npt.NDArray[np.float64]:
        """Return statistics per speaker."""
        return cluster_sums(self.statistics, self.speakers)[0]


def audit(
    results: Sequence[Path], by: Sequence[str] = ("gender",), seed: int = 0, replicates: int = REPLICATES
) -> FairnessResult:
    """Compare groups of speakers.

    Parameters
    ----------
    results
        Result folders, or tables of predictions.
    by
        Attributes that make the groups.
    seed
        Of bootstrap and permutations.
    replicates
        Bootstrap resamples.

    Raises
    ------
    UserError
        If a result cannot be read or has no such attribute.
    """
    if not by:
        raise UserError("`by` must name at least one attribute")
    groups: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    excluded: list[dict[str, Any]] = []
    tables = [read_predictions(Path(path)) for path in results]
    for table in tables:
        require_attributes(table, by)
        for attribute in by:
            rows, dropped = _without_ambiguous(table, attribute)
            excluded += dropped
            for name in table.metrics:
                metric = get_metric(name)
                parts = _split(rows, attribute, metric)
                rng = np.random.default_rng(seed)
                common = {"result": table.name, "by": attribute, "metric": name, "unit": metric.unit}
                groups += [{**common, **_describe(part, metric, replicates, rng)} for part in parts]
                comparisons += [{**common, **row} for row in _compare(parts, metric, replicates, rng)]
    return FairnessResult(groups, comparisons, excluded, _provenance(tables, by, seed, replicates))


def _without_ambiguous(table: Table, attribute: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Leave out the clips of a speaker who is recorded under two values: the speaker belongs to neither group."""
    values: dict[str, set[str]] = {}
    for row in table.rows:
        if row.get(attribute) is not None:
            values.setdefault(_speaker(row), set()).add(str(row[attribute]))
    ambiguous = {speaker: found for speaker, found in values.items() if len(found) > 1}
    dropped = [
        {"result": table.name, "speaker": s, "reason": f"recorded as {attribute} {' and '.join(sorted(found))}"}
        for s, found in sorted(ambiguous.items())
    ]
    return [row for row in table.rows if _speaker(row) not in ambiguous], dropped


def _split(rows: Sequence[dict[str, Any]], attribute: str, metric: AdditiveMetric) -> list[_Group]:
    """Return the groups sorted by name, those without a value last."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        value = row.get(attribute)
        by_name.setdefault(UNKNOWN if value is None else str(value), []).append(row)
    names = sorted(by_name, key=lambda name: (name == UNKNOWN, name))
    return [
        _Group(name, by_name[name], metric.statistics((r["reference"], r["hypothesis"]) for r in by_name[name]))
        for name in names
    ]


def _describe(group: _Group, metric: AdditiveMetric, replicates: int, rng: np.random.Generator) -> dict[str, Any]:
    sums = group.sums()
    interval = cluster_bootstrap(sums, metric.score, replicates, rng)
    seconds = [float(row["seconds"]) for row in group.rows if row.get("seconds") is not None]
    return {
        "group": group.name,
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "higher_is_better": metric.higher_is_better,
        "speakers": len(sums),
        "clips": len(group.rows),
        "words": sum(len(row["reference"].split()) for row in group.rows),
        "hours": sum(seconds) / 3600 if len(seconds) == len(group.rows) else None,
        "empty_references": sum(not row["reference"].strip() for row in group.rows),
    }


def _compare(
    groups: Sequence[_Group], metric: AdditiveMetric, replicates: int, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Compare each pair of known groups, F before M as they sort."""
    for first, second in combinations([g for g in groups if g.name != UNKNOWN], 2):
        ours, theirs = first.sums(), second.sums()
        a, b = float(metric.score(ours.sum(0))), float(metric.score(theirs.sum(0)))
        row: dict[str, Any] = {
            "a": first.name,
            "b": second.name,
            "difference": a - b,
            "low": math.nan,
            "high": math.nan,
            "relative_symmetric": relative_symmetric(a, b),
            "relative_to_b": relative_to(a, b),
            "higher_is_better": metric.higher_is_better,
            "direction": direction(metric.name, metric.higher_is_better, first.name, second.name, a, b),
            "p_value": math.nan,
            "refused": _refusal(first, second, ours, theirs, a - b),
            "warning": None,
        }
        if row["refused"] is None:
            interval = difference_interval(ours, theirs, metric.score, replicates, rng)
            row |= {"low": interval.low, "high": interval.high}
            row["p_value"] = permutation_test(ours, theirs, metric.score, rng).p_value
            fewest = min(len(ours), len(theirs))
            if fewest < WARN_BELOW_SPEAKERS:
                row["warning"] = f"only {fewest} speakers in the smaller group: small gaps cannot be found"
        yield row


def _refusal(
    first: _Group,
    second: _Group,
    ours: npt.NDArray[np.float64],
    theirs: npt.NDArray[np.float64],
    difference: float,
) -> str | None:
    if not math.isfinite(difference):
        return "the score of one group is not defined"
    shared = set(first.speakers) & set(second.speakers)
    if shared:
        return f"speakers are in both groups: {', '.join(sorted(shared)[:5])}"
    for group, sums in ((first, ours), (second, theirs)):
        if len(sums) < MIN_SPEAKERS:
            people = "1 speaker" if len(sums) == 1 else f"{len(sums)} speakers"
            return f"group {group.name} has {people}, and at least {MIN_SPEAKERS} a group are needed"
    return None


def _speaker(row: Mapping[str, Any]) -> str:
    """Return who speaks; clips without a recorded speaker count as one each."""
    speaker = row.get("speaker")
    return f"clip {row['id']}" if speaker is None else str(speaker)


def _provenance(tables: Sequence[Table], by: Sequence[str], seed: int, replicates: int) -> dict[str, Any]:
    def digest(path: Path) -> str:
        file = path / "predictions.parquet" if path.is_dir() else path
        return hashlib.sha256(file.read_bytes()).hexdigest()[:16]

    return {
        "results": {table.name: {"path": str(table.path), "sha256": digest(table.path)} for table in tables},
        "by": list(by),
        "seed": seed,
        "replicates": replicates,
        "min_speakers": MIN_SPEAKERS,
        "signatures": {m: get_metric(m).signature for t in tables for m in t.metrics if get_metric(m).signature},
        "versions": {"audio_ssl": version("audio-ssl"), "numpy": np.__version__},
    }


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
