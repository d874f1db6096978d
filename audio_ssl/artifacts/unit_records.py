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
