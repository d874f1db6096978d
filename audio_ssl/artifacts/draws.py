"""How a manifest was put together: `DrawRecord` beside a balanced manifest, `MixRecord` beside a mix of corpora."""

from __future__ import annotations

from dataclasses import dataclass, field

from audio_ssl.artifacts.records import absent
from audio_ssl.base.documents import JsonObject

DRAW_SUFFIX = ".balance.json"
"""Suffix of the `DrawRecord` of the manifest ``M.jsonl``: ``M.balance.json``."""
MIX_SUFFIX = ".mix.json"
"""Suffix of the `MixRecord` of the manifest ``M.jsonl``: ``M.mix.json``."""


@dataclass(frozen=True)
class DrawRequest:
    """The balance that was asked for."""

    balance: str
    """As it is typed: ``gender=F:0.5,M:0.5``."""

    column: str
    shares: dict[str, float]
    """Group to its share of the hours."""

    hours: float
    """Hours of the whole set."""

    speaker_hours: float | None
    """Maximum hours per speaker; None: no maximum."""

    seed: int


@dataclass(frozen=True)
class DrawnAmounts:
    """Amount of audio of a group. Without speakers in the pool, the numbers about speakers are None."""

    hours: float
    clips: int
    speakers: int | None
    effective_speakers: float | None
    most_hours_of_a_speaker: float | None


@dataclass(frozen=True)
class GroupDraw:
    """What was asked for and drawn of a group, and what the pool has of it."""

    asked_hours: float
    hours: float
    clips: int
    speakers: int | None
    effective_speakers: float | None
    most_hours_of_a_speaker: float | None
    pool: DrawnAmounts


@dataclass(frozen=True)
class ExcludedAmount:
    """Clips of a pool that are never drawn, for one reason."""

    clips: int
    hours: float


@dataclass(frozen=True, kw_only=True)
class DrawRecord:
    """How a balanced set was drawn from a pool."""

    kind: str = "balance"
    schema_version: int = 1
    asked: DrawRequest
    hours: float
    clips: int
    groups: dict[str, GroupDraw]
    excluded: dict[str, ExcludedAmount]
    """By reason."""

    notes: tuple[str, ...]
    pool_hash: str
    manifest_hash: str | None = absent(None)
    """Hash of the manifest that was written; None where the record lies in the folder of a study."""

    more: JsonObject = field(default_factory=dict)


@dataclass(frozen=True)
class CorpusHours:
    """What a mix uses of one corpus."""

    corpus: str
    title: str
    domain: str
    licence: str
    citation: str

    hours: float
    """Training hours of an epoch, copies included."""

    share: float
    """Share of the hours of an epoch."""

    available_hours: float
    """Hours of its training splits."""

    clips: int
    """Number of different training clips that are used."""

    rows: int
    """Training rows of the manifest: pieces of clips, and copies."""

    valid_hours: float
    too_short: int
    """Number of clips that were left out because they are too short."""

    languages: tuple[str, ...]


@dataclass(frozen=True)
class DomainHours:
    """Training hours of a domain in an epoch, and their share."""

    hours: float
    share: float


@dataclass(frozen=True)
class MixRecord:
    """What the manifest of a mix of corpora contains."""

    mix: str
    """Name of the mix."""

    manifest_hash: str
    hours: float
    """Training hours of an epoch."""

    domains: dict[str, DomainHours]
    corpora: tuple[CorpusHours, ...]
    missing: dict[str, str]
    """Corpus that was not found to the reason."""

    more: JsonObject = field(default_factory=dict)
