"""The report of the fairness stage: what an audit found (`FairnessReport`), its one reader and its one writer.

Its scores and gaps are `audio_ssl.artifacts.fairness`. A file of an earlier version is read as one of today: what it
does not say is NaN, None or empty.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audio_ssl.artifacts.fairness import (
    UNKNOWN,
    AdjustedRatio,
    EmptyEffect,
    GroupComparison,
    GroupScore,
    GroupSpread,
    SystemComparison,
    blank,
)
from audio_ssl.artifacts.records import absent, from_json, to_json
from audio_ssl.artifacts.result import AttributeGroup
from audio_ssl.base.documents import JsonObject, read_object
from audio_ssl.base.errors import UserError
from audio_ssl.base.text import printable

KIND, SCHEMA_VERSION = "fairness", 3
_AGAIN = "run `audio-ssl fairness` again"


@dataclass(frozen=True)
class SuppressedGroup:
    """A group that is counted and not scored; without a name, people left out because of another attribute."""

    result: str
    by: str
    groups: tuple[str, ...]
    speakers: int
    clips: int
    reason: str


@dataclass(frozen=True)
class LeftOutRows:
    """What was left out for one reason, the first ones by name."""

    result: str
    reason: str
    count: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class WorstClip:
    """One clip with a bad score, to read. Its texts are a stranger's."""

    result: str
    metric: str
    by: str
    group: str
    id: str
    speaker: str | None
    reference: str
    hypothesis: str
    value: float


@dataclass(frozen=True)
class LayerScore:
    """How well a probe of one layer predicts an attribute of held-out speakers; `control`: with permuted values."""

    layer: int | str
    value: float
    low: float = math.nan
    high: float = math.nan
    control: float = math.nan
    control_low: float = math.nan
    control_high: float = math.nan
    compression: float = math.nan
    control_compression: float = math.nan
    selectivity: float = math.nan


@dataclass(frozen=True, kw_only=True)
class AttributeProbe:
    """How well the layers of a model tell an attribute, beside those of baselines."""

    result: str
    model: str | None
    model_fingerprint: str | None = None
    path: str = ""
    signature: str = ""
    attribute: str
    metric: str
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    chosen: tuple[int | str, ...] | None = None
    groups: tuple[AttributeGroup, ...] | None = None
    folds: int | None = None
    shuffles: int | None = None
    majority_accuracy: float = math.nan
    majority_uar: float = math.nan
    speakers: int | None
    clips: int | None
    warning: str | None
    layers: tuple[LayerScore, ...]
    baselines: dict[str, tuple[LayerScore, ...]]
    excluded: int = 0


@dataclass(frozen=True, kw_only=True)
class AuditedSystem:
    """One system that was audited."""

    name: str
    path: str
    sha256: str
    task: str | None
    model_fingerprint: str | None = None
    clips: int
    speakers: int
    hours: float
    metrics: tuple[str, ...]
    signature: str | None
    system: str | None
    version: str | None


@dataclass(frozen=True)
class AuditStatement:
    """What the report states of itself, for whoever signs it."""

    date: str
    test_set: str | None
    tolerance: float | None


@dataclass(frozen=True)
class ReadFile:
    """A file that was read."""

    result: str | None
    role: str
    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class AuditOrigin:
    """What makes the report again."""

    by: tuple[str, ...]
    seed: int
    replicates: int
    permutations: int | None = None
    """Random assignments of groups to speakers, where not all are tried."""
    trial_permutations: int | None = absent(None)
    """The same for results of speaker verification, whose tests cost more; None where there is no such result."""
    min_speakers: int
    min_group_speakers: int | None
    inputs: tuple[ReadFile, ...]
    normaliser: str | None = None
    tokenizer: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    empty_hypothesis: str | None = None
    manifest: str | None = None
    command: tuple[str, ...] | str | None = None
    versions: dict[str, str]
    more: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FairnessReport:
    """What an audit found; `to_json` is the ``report.json`` other programs read."""

    results: tuple[AuditedSystem, ...]
    groups: tuple[GroupScore, ...]
    comparisons: tuple[GroupComparison, ...]
    excluded: tuple[LeftOutRows, ...]
    suppressed: tuple[SuppressedGroup, ...]
    spread: tuple[GroupSpread, ...]
    models: tuple[AdjustedRatio, ...]
    gap_differences: tuple[SystemComparison, ...]
    representation: tuple[AttributeProbe, ...]
    examples: tuple[WorstClip, ...]
    empty_hypotheses: tuple[EmptyEffect, ...] = ()
    """Gaps with empty hypotheses counted and left out."""
    totals: tuple[GroupScore, ...]
    """Scores of all scored groups together; apart, so that no program takes them for a group of people."""
    limits: tuple[str, ...]
    notes: tuple[str, ...] = ()
    statement: AuditStatement | None
    """None of a report that is older than these statements."""
    provenance: AuditOrigin

    @property
    def scores(self) -> tuple[GroupScore, ...]:
        """The rows of groups and, after them, those of all scored groups together."""
        return self.groups + self.totals

    def to_json(self) -> JsonObject:
        """Return plain data; what is not defined is null, and no text steers the screen that shows it."""
        found = {"kind": KIND, "schema_version": SCHEMA_VERSION, **to_json(self, printable)}
        return found | {"comparisons": [_comparison(row) for row in self.comparisons]}

    def to_text(self) -> str:
        """Return the text of the file."""
        return json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n"


def _comparison(row: GroupComparison) -> JsonObject:
    """Return a row with its verdict, which stands beside the tolerance."""
    found: JsonObject = {}
    for key, value in to_json(row, printable).items():
        found[key] = value
        if key == "tolerance":
            found["verdict"] = row.verdict
    return found


def read_fairness(path: Path) -> FairnessReport:
    """Read the JSON of a fairness audit, of this version or an earlier one.

    Raises
    ------
    UserError
        If the file cannot be read, is no fairness report, or a value has the wrong type.
    """
    return fairness_of(read_object(path, remedy=_AGAIN), str(path))


def fairness_of(data: Mapping[str, Any], where: str) -> FairnessReport:
    """Return the report that the plain data of a file describes; `where` names the file in errors."""
    missing = [key for key in ("groups", "comparisons") if not isinstance(data.get(key), list)]
    if missing:
        raise UserError(f"`{missing[0]}` must be a list, but is {data.get(missing[0])!r}", where=where, remedy=_AGAIN)
    version = data.get("schema_version")
    today = version if isinstance(version, int) else 1
    return from_json(FairnessReport, data if today >= SCHEMA_VERSION else _upgraded(data), where, _AGAIN)


# --- files of earlier versions ----------------------------------------------------------------------------------------

_ROWS: dict[str, type] = {
    "results": AuditedSystem,
    "groups": GroupScore,
    "totals": GroupScore,
    "comparisons": GroupComparison,
    "spread": GroupSpread,
    "models": AdjustedRatio,
    "gap_differences": SystemComparison,
    "representation": AttributeProbe,
    "excluded": LeftOutRows,
}


def _upgraded(data: Mapping[str, Any]) -> JsonObject:
    """Return the data of version 1 or 2 as this version has it."""
    found = {**blank(FairnessReport), **data}
    for part, kind in _ROWS.items():
        found[part] = [_row(row, kind) if isinstance(row, Mapping) else row for row in found[part]]
    # Version 1 has no row of all clips, version 2 has it among the groups.
    every = [*found["groups"], *found["totals"]]
    for part, total in (("groups", False), ("totals", True)):
        found[part] = [row for row in every if (isinstance(row, Mapping) and row["total"] is True) == total]
    origin = data.get("provenance")
    return found | {"provenance": {**blank(AuditOrigin), **origin} if isinstance(origin, Mapping) else origin}


def _row(row: Mapping[str, Any], kind: type) -> JsonObject:
    return {**blank(kind), **dict(_older(row, kind)), **row}


def _older(row: Mapping[str, Any], kind: type) -> Iterator[tuple[str, Any]]:
    """Yield what rows of an earlier version mean by not saying it."""
    if kind is GroupScore:
        yield "known", row.get("group") != UNKNOWN
        yield "total", False
    elif kind is GroupComparison:
        yield "compared", 0
    elif kind is LeftOutRows and "speaker" in row:
        # A row for each speaker.
        yield "count", 1
        yield "names", [f"speaker {row['speaker']}"]
