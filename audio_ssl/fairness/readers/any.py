"""Which reader a path is for: told by what a folder holds, or by how a file ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from audio_ssl.errors import UserError
from audio_ssl.fairness.readers.csv import open_csv
from audio_ssl.fairness.readers.jsonl import open_jsonl
from audio_ssl.fairness.readers.kaldi import is_kaldi, open_kaldi
from audio_ssl.fairness.readers.parquet import open_parquet
from audio_ssl.fairness.readers.source import Source

_BY_SUFFIX: dict[str, Callable[[Path], Source]] = {
    ".csv": open_csv,
    ".tsv": open_csv,
    ".jsonl": open_jsonl,
    ".ndjson": open_jsonl,
    ".json": open_jsonl,
    ".parquet": open_parquet,
}


def open_source(path: Path) -> Source:
    """Describe the predictions at `path`.

    Raises
    ------
    UserError
        If there are none, or of an unknown kind.
    """
    if path.is_dir() and (path / "predictions.parquet").is_file():
        return open_parquet(path / "predictions.parquet")
    if is_kaldi(path):
        return open_kaldi(path)
    if not path.is_file():
        raise UserError(
            "no predictions here",
            where=str(path),
            remedy="give a result folder, a Kaldi folder with `text`, or a .csv, .tsv, .jsonl or .parquet",
        )
    if path.suffix.lower() not in _BY_SUFFIX:
        raise UserError("must end in .csv, .tsv, .jsonl, .json or .parquet", where=str(path))
    return _BY_SUFFIX[path.suffix.lower()](path)
