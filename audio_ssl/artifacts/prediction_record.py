"""``prediction.json``: what made the predictions of a folder.

It is written first; predictions of another result, model or way of cutting long files are refused in the same folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from audio_ssl.artifacts.records import absent, read_record, write_record
from audio_ssl.base.documents import JsonObject

PREDICTION_FILE = "prediction.json"
_REMEDY = "choose another --out, or delete the folder to predict again"


@dataclass(frozen=True, kw_only=True)
class PredictionRecord:
    """What predictions depend on, and what they are."""

    result: str
    """Folder of the probe's result, as it was named."""

    result_sha256: str
    """Hash of its head and its question."""

    probe: str
    """Name of the probe."""

    task: str
    model: str
    """As the result names it, or as ``--model`` did."""

    model_fingerprint: str
    """Of the probed model; of one that was fine-tuned, of the weights that it has then."""

    decoder: str | None = absent(None)
    """Signature of the search."""

    precision: str
    """Of the model's arithmetic."""

    chunk_seconds: float
    """Length of the chunks that the model hears long files in."""

    context_seconds: float
    """Audio on either side of a chunk, and of a window of a recurrent head."""

    audio: str = absent("")
    """Folder, file or manifest of the command that began."""

    command: str = absent("")
    """Shell command that predicts again."""

    versions: dict[str, str] = absent({})
    more: JsonObject = field(default_factory=dict)


def read_prediction_record(folder: Path) -> PredictionRecord | None:
    """Return what made the predictions of a folder; None where there are none.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    path = folder / PREDICTION_FILE
    return read_record(PredictionRecord, path, _REMEDY) if path.exists() else None


def write_prediction_record(folder: Path, record: PredictionRecord) -> None:
    """Write ``prediction.json``."""
    write_record(folder / PREDICTION_FILE, record)
