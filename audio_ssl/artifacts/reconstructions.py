"""Clips that a codec is judged by, with what it makes of them: ``reconstructions/clips.json`` beside the codec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audio_ssl.artifacts.records import absent, read_record, write_record

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

    held_out: bool | None = absent(None)
    """Whether the codec was not trained on them; None: there are no clips."""
    sample_rate: int | None = absent(None)
    """In Hz."""
    clips: tuple[Reconstruction, ...] = absent(())


def read_reconstructions(codec: Path) -> Reconstructions:
    """Return the clips of a codec's folder, if it has any."""
    path = codec / RECONSTRUCTIONS_FOLDER / _FILE
    return read_record(Reconstructions, path) if path.is_file() else Reconstructions()


def write_reconstructions(codec: Path, found: Reconstructions) -> None:
    """Write the list of clips; their FLAC files lie beside it."""
    write_record(codec / RECONSTRUCTIONS_FOLDER / _FILE, found)
