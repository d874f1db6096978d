"""The facts of a shipped model, as data: its card and the listing are made of them alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from audio_ssl.base.config import structure
from audio_ssl.base.documents import read_object
from audio_ssl.base.errors import UserError

FACTS_FILE = "facts.json"
FACTS_VERSION = 1


@dataclass(frozen=True)
class HeardCorpus:
    """A corpus that the model was trained on, as its card in ``corpora/`` has it."""

    name: str
    """Of its file; empty for clips whose corpus no row names."""

    title: str
    licence: str
    """Of the audio."""
    citation: str
    made: bool
    """Rendered or synthesised by this package."""

    clips: int
    hours: float
    """Of distinct audio."""

    languages: tuple[str, ...] = ()
    """Of its clips, where rows say one."""

    female_hours: float = 0.0
    male_hours: float = 0.0
    """Of clips whose rows name the speaker's gender."""


@dataclass(frozen=True)
class TrainingCost:
    """Cost of the training; an estimate where it says so."""

    updates: int
    heard_hours: float
    """Audio in all updates: every epoch counts, several masks of one clip count once."""

    hours: float
    """Of updates alone, summed from the speed of each; without teachers, validation and pauses."""

    cores: float
    watts_per_core: float
    """Assumed, not measured."""

    @property
    def core_hours(self) -> float:
        """Hours of one core."""
        return self.hours * self.cores

    @property
    def kilowatt_hours(self) -> float:
        """Core-hours times the assumed watts."""
        return self.core_hours * self.watts_per_core / 1000


@dataclass(frozen=True)
class ScoreRow:
    """One system's score in one task, on held-out clips."""

    task: str
    system: str
    metric: str
    value: float
    low: float
    high: float
    """Ends of a 95 % interval."""

    higher_is_better: bool
    layer: int | None = None


@dataclass(frozen=True)
class PairedGap:
    """The model against another system on the same clips."""

    task: str
    other: str
    value: float
    """Difference in points of the metric; above 0: the model is better."""

    low: float
    high: float
    """Ends of a 95 % interval over clips that are resampled together."""

    peer: bool = False
    """The other is a published encoder, not a baseline."""

    covered: float | None = None
    """Of a peer: share of its gain over log-mel that the model reaches, in percent; None: the peer has no gain."""


@dataclass(frozen=True)
class FixedClip:
    """Features of `audio_ssl.release.make.fixed_clip`: an installation that computes the same works as it should."""

    seconds: float
    frames: int
    norms: tuple[float, ...]
    """Root mean square of each hidden state, layer 0 first."""

    values: tuple[tuple[float, ...], ...]
    """The first numbers of the middle frame of each hidden state."""


@dataclass(frozen=True)
class ShippedFacts:
    """All that the card says."""

    name: str
    summary: str
    """One line: what it is for."""

    licence: str
    """Of the weights, as SPDX names it."""

    made_with: str
    """Version of audio_ssl."""

    command: str
    """The one command that trains it."""

    recipe_hash: str
    manifest_hash: str
    fingerprint: str
    """Of the model as it is read, float32."""

    run_fingerprint: str
    """Of the run's model, before its weights were rounded."""

    rounding: float
    """Relative error that rounding makes in the last hidden state of the fixed clip."""

    weights: str
    """How they are stored: float16, bfloat16 or float32."""

    parameters: int
    layers: int
    dim: int
    sample_rate: int
    """In Hz."""

    frames_per_second: float
    frontend: str
    encoder: str
    corpora: tuple[HeardCorpus, ...]
    cost: TrainingCost
    fixed: FixedClip
    versions: tuple[tuple[str, str], ...] = ()
    """Packages of the training, and their versions."""

    scores: tuple[ScoreRow, ...] = field(default=())
    gaps: tuple[PairedGap, ...] = field(default=())
    facts_version: int = FACTS_VERSION


def read_facts(folder: Path) -> ShippedFacts:
    """Return the facts of a shipped model.

    Raises
    ------
    UserError
        If there are none, or they are those of a newer version.
    """
    path = folder / FACTS_FILE
    data = read_object(path)
    if data.get("facts_version") != FACTS_VERSION:
        found = data.get("facts_version")
        raise UserError(f"`facts_version` must be {FACTS_VERSION}, but is {found}", where=str(path))
    return structure(ShippedFacts, data, str(path))
