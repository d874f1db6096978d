"""A study: `StudyResult` is ``study.json``, the table with what it is made of; `StudyOrigin` is ``provenance.json``."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import nan
from pathlib import Path

from audio_ssl.artifacts.draws import DrawRecord
from audio_ssl.artifacts.fairness import AdjustedGap
from audio_ssl.artifacts.records import absent, read_record
from audio_ssl.base.documents import JsonObject

UNTRAINED = "untrained"
"""Name of the row of models with fresh weights."""
_ORIGIN = "provenance.json"


@dataclass(frozen=True)
class StudyOrigin:
    """What a study was made from: hashes of its manifests, and of its recipe and probes with all settings."""

    command: tuple[str, ...] = ()
    study: str = ""
    manifests: dict[str, str] = field(default_factory=dict)
    """Path to hash."""

    recipe_hash: str = ""
    probe_hashes: dict[str, str] = field(default_factory=dict)
    """By column."""

    seeds: tuple[int, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    replicates: int | None = absent(None)
    """Number of bootstrap and permutation replicates; in ``study.json`` only."""

    more: JsonObject = field(default_factory=dict)


def read_origin(folder: Path, remedy: str | None = None) -> StudyOrigin | None:
    """Return the origin of the study in a folder; None where it has none, UserError where it is damaged."""
    path = folder / _ORIGIN
    return read_record(StudyOrigin, path, remedy) if path.is_file() else None


@dataclass(frozen=True)
class StudyPretraining:
    """The recipe that every set was pretrained with."""

    recipe: str
    settings: tuple[str, ...]


@dataclass(frozen=True)
class StudyColumn:
    """One question that was asked of every model."""

    name: str
    title: str
    """Name of the task: ASR."""

    integration: str
    """``frozen`` or ``fine-tuned``."""

    task: str
    metric: str
    """The main metric."""

    metrics: tuple[str, ...]
    manifest: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class StudySet:
    """A set of pretraining audio."""

    name: str
    shares: dict[str, float]
    """Group to its share of the hours."""

    draws: tuple[DrawRecord, ...]
    """One per seed."""


@dataclass(frozen=True, kw_only=True)
class CellGroup:
    """The score of one group of test speakers, or of ``all``; the range over seeds where there are several."""

    value: float
    low: float
    high: float
    speakers: int
    clips: int
    words: int
    hours: float
    seed_low: float | None = absent(None)
    seed_high: float | None = absent(None)


@dataclass(frozen=True, kw_only=True)
class GapAgainstReference(AdjustedGap):
    """The gap of a set minus that of the reference set, on the same clips."""

    difference: float
    low: float
    high: float
    p_value: float
    clips: int = 0
    speakers: int = 0
    refused: str | None
    """Why the difference was not tested."""

    warning: str | None = None
    p_holm: float = nan
    compared: int = 0
    """Number of tests that `p_holm` is adjusted for."""


@dataclass(frozen=True, kw_only=True)
class StudyCell(AdjustedGap):
    """One set in one column by one metric: the scores of the groups, and the first group minus the second."""

    column: str
    results: tuple[str, ...]
    """Folders of the results, one per seed, relative to the study."""

    set: str
    metric: str
    unit: str
    higher_is_better: bool
    groups: dict[str, CellGroup]
    difference: float
    low: float
    high: float
    relative_symmetric: float
    """Difference in percent of the mean of both scores."""

    relative_symmetric_low: float
    relative_symmetric_high: float
    ratio: float = nan
    ratio_low: float = nan
    ratio_high: float = nan
    p_value: float
    p_exact: bool | None = None
    minimum_detectable: float = nan
    direction: str = ""
    refused: str | None
    """Why the gap was not tested."""

    warning: str | None = None
    seed_low: float | None = absent(None)
    """Range over seeds of `difference`, where there are several seeds."""

    seed_high: float | None = absent(None)
    relative_symmetric_seed_low: float | None = absent(None)
    relative_symmetric_seed_high: float | None = absent(None)
    against_reference: GapAgainstReference | None
    """None for the reference set and for models without pretraining."""

    p_holm: float = nan
    compared: int = 0
    """Number of tests that `p_holm` is adjusted for."""


@dataclass(frozen=True)
class StudyOverlap:
    """Speakers and files of the test clips that are in the pool as well."""

    speakers: tuple[str, ...]
    files: tuple[str, ...]
    left_out: int
    """Number of clips of the pool that were left out of pretraining because of them."""

    sentence: str | None
    """The same in words; None where there is no overlap."""


@dataclass(frozen=True)
class StudyExclusion:
    """Test clips that were left out, for one reason."""

    column: str
    reason: str
    count: int
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """The numbers of a study."""

    kind: str = "study"
    schema_version: int = 1
    name: str
    by: str
    """Column whose values are the groups."""

    compare: tuple[str, str]
    """The two groups whose scores are compared."""

    reference: str
    """Name of the reference set."""

    hours: float
    """Hours of every set."""

    seeds: tuple[int, ...]
    pretraining: StudyPretraining
    columns: tuple[StudyColumn, ...]
    sets: tuple[StudySet, ...]
    untrained: bool
    """Whether models without pretraining have a row."""

    cells: tuple[StudyCell, ...]
    known: StudyOverlap
    note: str
    warnings: tuple[str, ...]
    limits: tuple[str, ...]
    excluded: tuple[StudyExclusion, ...]
    provenance: StudyOrigin
    more: JsonObject = field(default_factory=dict)

    def cells_of(self, column: str, metric: str) -> list[StudyCell]:
        """Return the cells of one column and metric, in the order of the table's rows."""
        return [cell for cell in self.cells if cell.column == column and cell.metric == metric]
