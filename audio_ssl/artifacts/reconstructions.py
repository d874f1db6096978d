"""Clips that a codec is judged by, with what it makes of them: ``reconstructions/clips.json`` beside the codec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audio_ssl.artifacts.records import read_record, write_record

RECONSTRUCTIONS_FOLDER = "reconstructions"
_FILE = "clips.json"


@dataclass(frozen=True)
class Reconstruction:
    """A clip, and what a codec makes of it."""

    id: str
    seconds: float
    si_sdr: float
    """In dB."""
    mel_distance: float
    """In dB."""
    original: str
    """Name of the FLAC file; so is `reconstruction`."""
    reconstruction: str


@dataclass(frozen=True)
class Reconstructions:
    """Clips to judge a codec by: ``reconstructions/clips.json``."""

    held_out: bool
    """Whether the codec was not trained on them."""
    sample_rate: int
    """In Hz."""
    clips: tuple[Reconstruction, ...]


def read_reconstructions(codec: Path) -> Reconstructions | None:
    """Return the clips of a codec's folder; None where there are none."""
    path = codec / RECONSTRUCTIONS_FOLDER / _FILE
    return read_record(Reconstructions, path) if path.is_file() else None


def write_reconstructions(codec: Path, found: Reconstructions) -> None:
    """Write the list of clips; their FLAC files lie beside it."""
    write_record(codec / RECONSTRUCTIONS_FOLDER / _FILE, found)
