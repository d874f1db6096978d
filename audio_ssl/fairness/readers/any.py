"""Which reader a path is for: told by what a folder holds, by how a file ends, and by what its rows have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path

from audio_ssl import examples
from audio_ssl.data.lhotse import is_lhotse
from audio_ssl.errors import UserError
from audio_ssl.fairness.readers import lhotse, nemo
from audio_ssl.fairness.readers.adapt import rename, with_ids
from audio_ssl.fairness.readers.csv import open_csv
from audio_ssl.fairness.readers.jsonl import open_jsonl
from audio_ssl.fairness.readers.kaldi import is_kaldi, open_kaldi
from audio_ssl.fairness.readers.parquet import open_parquet
from audio_ssl.fairness.readers.source import Source, nowhere
from audio_ssl.fairness.readers.trn import is_trn, open_trn

_BY_SUFFIX: dict[str, Callable[[Path], Source]] = {
    ".csv": open_csv,
    ".tsv": open_csv,
    ".tab": open_csv,
    ".txt": open_csv,
    ".jsonl": open_jsonl,
    ".ndjson": open_jsonl,
    ".json": open_jsonl,
    ".jsonl.gz": open_jsonl,
    ".json.gz": open_jsonl,
    ".parquet": open_parquet,
}
_LOOKED_AT = 20
_INSTEAD = {
    ".xlsx": "save the sheet as CSV UTF-8",
    ".xls": "save the sheet as CSV UTF-8",
    ".ods": "save the sheet as CSV",
    ".ctm": "CTM has times and no utterances: score segments, and write `.trn`",
    ".stm": "STM has times and no utterances: score segments, and write `.trn`",
}


def open_source(path: Path, columns: Mapping[str, str] | None = None) -> Source:
    """Describe the predictions at `path`.

    Parameters
    ----------
    path
        A file or folder.
    columns
        Our name -> the table's, where the user says so.

    Raises
    ------
    UserError
        If there are none, or of an unknown kind, or without a column of `columns`.
    """
    source = _open(path)
    first = [row for _, row in islice(source.rows(source.columns, nowhere), _LOOKED_AT)]
    if any(is_lhotse(row) for row in first):
        return rename(lhotse.adapt(source, first), columns or {})
    source = rename(source, columns or {})
    if nemo.is_nemo(source.columns):
        return nemo.adapt(source, nemo.translates(first))
    return with_ids(source)


def _open(path: Path) -> Source:
    if path.is_dir() and (path / "predictions.parquet").is_file():
        return open_parquet(path / "predictions.parquet")
    if path.is_dir() and is_kaldi(path):
        return open_kaldi(path)
    if path.exists() and is_trn(path):
        return open_trn(path)
    if not path.is_file():
        raise UserError(
            "no predictions here" if path.exists() else "there is no such file or folder",
            where=str(path),
            remedy="give a result folder, a folder of Kaldi (`text`) or sclite (`ref.trn`, `hyp.trn`), a .csv, .tsv, "
            f".jsonl, .parquet or .trn, or an example ({', '.join(examples.names())})",
        )
    suffix = "".join(path.suffixes[-2:]).lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if suffix not in _BY_SUFFIX:
        raise UserError(
            "must end in .csv, .tsv, .txt, .jsonl, .json, .jsonl.gz, .parquet or .trn",
            where=str(path),
            remedy=_INSTEAD.get(suffix),
        )
    return _BY_SUFFIX[suffix](path)
