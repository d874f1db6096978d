"""What `audio-ssl units` leaves beside the units: ``units.json``, and ``quality.json`` of what was measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from audio_ssl.artifacts.records import absent, read_record, write_record
from audio_ssl.base.documents import JsonObject
from audio_ssl.base.errors import UserError

UNITS_FILE, QUALITY_FILE = "units.json", "quality.json"
TABLE_LINES, TABLE_PARQUET = "units.jsonl", "units.parquet"


@dataclass(frozen=True)
class FitRecord:
    """What a code book was fitted to."""

    clips: int
    seconds: float
    """Of audio that was heard."""
    frames_heard: int
    frames: int
    """That were clustered, drawn from those."""
    seed: int
    more: JsonObject = field(default_factory=dict)


@dataclass(frozen=True)
class UnitsRecord:
    """What a folder of units holds: ``units.json``."""

    model: str
    """As named."""
    fingerprint: str
    """Of the model, or of the teacher."""
    layer: int | None
    """Of the model; None: a codec or another teacher gave the codes."""
    codebooks: int
    """Codes of a frame."""
    codes: int
    """Of each code book."""
    hop_seconds: float
    """From one frame to the next."""
    center_seconds: float
    """Middle of the first frame's window, from a clip's start."""
    code_book: str | None
    """Where the code book was given; None: it was fitted, or the codes are those of a codec."""
    code_book_fingerprint: str | None
    """Hash of its numbers."""
    merged: bool
    """Whether frames in a row with equal codes are one unit."""
    fit: FitRecord | None = absent(None)
    clips: int | None = absent(None)
    """None: the folder is not finished; so are the next two."""
    units: int | None = absent(None)
    """Rows of all clips."""
    seconds: float | None = absent(None)
    """Of audio."""
    command: str = absent("")
    """Shell command that makes the units again."""
    more: JsonObject = field(default_factory=dict)


def read_units_record(folder: Path) -> UnitsRecord:
    """Return what a finished folder of units holds.

    Raises
    ------
    UserError
        If it is not one, or is not finished.
    """
    path = folder / UNITS_FILE
    if not path.is_file():
        remedy = "make units with `audio-ssl units AUDIO MODEL --out U`"
        raise UserError(f"the folder has no {UNITS_FILE}", where=str(folder), remedy=remedy)
    found = read_record(UnitsRecord, path, "run the command that made the units again")
    if found.clips is None:
        raise UserError("the units are not finished", where=str(folder), remedy=f"run again: {found.command}")
    return found


def write_units_record(folder: Path, record: UnitsRecord) -> None:
    """Write what a folder of units holds."""
    write_record(folder / UNITS_FILE, record)


@dataclass(frozen=True)
class QualityRow:
    """One score of units."""

    metric: str
    """Its name; `audio_ssl.metrics.registry` says what it is."""
    of: str
    """What it was measured on: frames, merged units, one-hot codes, centroids."""
    codebook: int | None
    """Number of the codebook, from 1; None: there is one, or all together."""
    value: float
    low: float
    """Of its 95 % interval; NaN where there is none. So is `high`."""
    high: float
    unit: str
    """Of the value."""


@dataclass(frozen=True)
class UnitQuality:
    """How good the units of a folder are: ``quality.json``."""

    manifest: str
    """With the times of phones."""
    times: str
    """Column of the manifest."""
    clips: int
    """Of the folder that the manifest has."""
    clips_with_phones: int
    frames: int
    frames_with_phones: int
    phones: int
    """Different ones."""
    seconds: float
    clusters: int
    """Speakers, or what else the intervals are over."""
    resampled: str
    """What that is: speaker, track or clip."""
    abx_clips: int
    """Whose phones ABX compares, drawn if there are more."""
    rows: tuple[QualityRow, ...]
    left_out: dict[str, int] = absent({})
    """Clips without phones by reason."""
    more: JsonObject = field(default_factory=dict)


def write_quality(folder: Path, quality: UnitQuality) -> Path:
    """Write how good the units of a folder are, and return the file."""
    write_record(folder / QUALITY_FILE, quality)
    return folder / QUALITY_FILE
