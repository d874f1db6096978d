"""The audit of manifests: hours, clips, speakers, durations and levels of every group (`AuditReport`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from audio_ssl.artifacts.draws import DrawRecord
from audio_ssl.base.documents import JsonObject


@dataclass(frozen=True)
class HoursPerSpeaker:
    """Hours of one speaker: over all speakers of a group."""

    mean: float
    median: float
    max: float


@dataclass(frozen=True)
class Quantiles:
    """Percentiles of one number per clip; NaN where no clip has it."""

    p5: float
    p25: float
    p50: float
    p75: float
    p95: float


@dataclass(frozen=True)
class Levels:
    """Levels of the clips of a group: the quantiles, in dBFS, are those of the clips that are not silent."""

    measured: int
    silent: int
    clipped: int | None
    """Number of clips that are clipped; None where only a column of levels is known."""

    p5: float
    p25: float
    p50: float
    p75: float
    p95: float

    @property
    def quantiles(self) -> Quantiles:
        """Return the quantiles alone."""
        return Quantiles(self.p5, self.p25, self.p50, self.p75, self.p95)


@dataclass(frozen=True)
class GroupAmounts:
    """Amount of audio of one group, and how evenly it is spread over its speakers."""

    value: str
    """Value of the column; ``all`` of the total, ``unknown`` where it is not recorded."""

    known: bool
    total: bool
    hours: float
    share_of_hours: float
    clips: int
    speakers: int
    clips_without_speaker: int
    hours_per_speaker: HoursPerSpeaker | None
    """None where no clip has a speaker."""

    effective_speakers: float
    """Inverse Simpson index of the speakers' hours."""

    effective_speakers_entropy: float
    """Exponential of the entropy of the speakers' hours."""

    gini: float | None
    """None where no clip has a speaker."""

    lorenz: tuple[tuple[float, float], ...]
    """Points (share of speakers, share of hours), beginning with the speakers with the fewest hours."""

    clip_seconds: Quantiles
    level_dbfs: Levels | None
    """None where no level is known."""


@dataclass(frozen=True)
class NamedSpeakers:
    """A number of speakers, and the names of the first ones."""

    count: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class SharedSpeakers:
    """Speakers that two splits or two manifests share."""

    a: str
    b: str
    count: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class AttributeAmounts:
    """The groups of one column."""

    attribute: str
    rows: tuple[GroupAmounts, ...]
    speakers_of_several: NamedSpeakers
    """Speakers with more than one known value."""


@dataclass(frozen=True)
class SplitAmounts:
    """The groups within one split."""

    split: str
    total: GroupAmounts
    by: tuple[AttributeAmounts, ...]


@dataclass(frozen=True)
class AuditedManifest:
    """Which manifest was audited."""

    name: str
    path: str = ""
    """Relative to the page."""

    hash: str = ""
    levelled: str | None = None
    """Path of the manifest with levels, relative to the page; None where no levels were measured."""

    unreadable: int = 0
    """Number of clips that could not be decoded."""

    balance: DrawRecord | None = None
    """How the manifest was drawn; None where no record of that is beside it."""


@dataclass(frozen=True, kw_only=True)
class ManifestAudit(AuditedManifest):
    """What one manifest contains."""

    total: GroupAmounts
    by: tuple[AttributeAmounts, ...]
    spellings: tuple[str, ...] = ()
    """Values that were read as another one, by column."""

    languages: tuple[GroupAmounts, ...] = ()
    splits: tuple[SplitAmounts, ...] = ()
    shared_speakers: tuple[SharedSpeakers, ...] = ()
    """Of splits."""


@dataclass(frozen=True)
class CompositionOrigin:
    """How an audit was made."""

    by: tuple[str, ...]
    levels: bool
    versions: dict[str, str]
    command: str


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """The audit of one or more manifests, the JSON beside the page of ``audit``."""

    kind: str = "composition"
    schema_version: int = 1
    manifests: tuple[ManifestAudit, ...]
    shared_speakers: tuple[SharedSpeakers, ...]
    """Of manifests."""

    provenance: CompositionOrigin
    more: JsonObject = field(default_factory=dict)
