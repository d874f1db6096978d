"""Predictions as CSV, JSON Lines, Parquet, NeMo's manifests and lhotse's cuts; `open_source` chooses the reader.

The reader is chosen by the contents of a folder, by the suffix of a file, and by the columns of its rows.

* CSV and TSV: `audio_ssl.data.delimited` reads them. An empty cell is an empty text; what that means depends on the
  column.
* JSON Lines: one object per line, plain or gzipped.
* Parquet, which probes write: batches with the wanted columns only.
* NeMo: JSON Lines with ``audio_filepath, text, pred_text, duration, offset`` and further columns of its manifest. If
  there is no ``id``, the id is the path of the audio file, with the ``offset`` of a segment behind it. Manifests of
  multilingual models (Canary) may have the reference in ``answer``; ``source_lang`` and ``target_lang`` say whether it
  is a translation.
* lhotse: the hypothesis is a custom value of the cut or of its supervision.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from audio_ssl import examples
from audio_ssl.artifacts.result_tables import PREDICTIONS_FILE
from audio_ssl.base.catalog import parts
from audio_ssl.base.documents import parse_line
from audio_ssl.base.errors import UserError
from audio_ssl.data.corpus_tools.toolkits import cut_row, is_lhotse, segment_id
from audio_ssl.data.delimited import Delimited, Read, open_delimited
from audio_ssl.fairness.tables.kaldi import is_kaldi, is_trn, open_kaldi, open_trn
from audio_ssl.fairness.tables.lines import read_lines
from audio_ssl.fairness.tables.source import (
    BATCH_BYTES,
    BATCH_ROWS,
    Numbered,
    Refuse,
    Row,
    Source,
    join_notes,
    nowhere,
    rename,
    with_ids,
)


def open_csv(path: Path) -> Source:
    """Describe a table.

    Raises
    ------
    UserError
        If it cannot be read, or the header has a name twice.
    """
    table, read = open_delimited(path), Read()
    return Source(
        (path,),
        tuple(name for name in table.header if name),
        lambda wanted, refuse: _csv_rows(table, wanted, refuse, read),
        note=", ".join(table.notes),
        noticed=lambda: _noticed(read),
        commas_between=table.delimiter == ",",
    )


def open_jsonl(path: Path) -> Source:
    """Describe a file by its first rows.

    Raises
    ------
    UserError
        If a row is not an object; the line is named.
    """
    columns = tuple(dict.fromkeys(name for _, row in islice(json_rows(path), _PEEK_ROWS) for name in row))
    return Source((path,), columns, lambda wanted, refuse: json_rows(path), complete=False)


def open_parquet(path: Path) -> Source:
    """Describe a parquet file.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        with pq.ParquetFile(path) as file:
            columns, total = tuple(file.schema_arrow.names), file.metadata.num_rows
            task = (file.schema_arrow.metadata or {}).get(b"task", b"").decode("utf-8", "replace")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"cannot be read: {error}", where=str(path)) from error
    # Probes and `predict` say it; another program may mean something else by the word.
    known = task if task in parts("probing/tasks") else None
    return Source((path,), columns, lambda wanted, refuse: _parquet_rows(path, wanted), total=total, task=known)


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
        Our name -> the table's column, as the user gave it.

    Raises
    ------
    UserError
        If there are none, the format is unknown, or a column of `columns` is missing.
    """
    source = _open(path)
    first = [row for _, row in islice(source.rows(source.columns, nowhere), _LOOKED_AT)]
    if any(is_lhotse(row) for row in first):
        return rename(adapt_lhotse(source, first), columns or {})
    source = rename(source, columns or {})
    if is_nemo(source.columns):
        return adapt_nemo(source, translates(first))
    return with_ids(source)


def _open(path: Path) -> Source:
    if path.is_dir() and (path / PREDICTIONS_FILE).is_file():
        return open_parquet(path / PREDICTIONS_FILE)
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


def _csv_rows(table: Delimited, wanted: Collection[str], refuse: Refuse, read: Read) -> Numbered:
    read.several_lines = 0
    names = [(place, name) for place, name in enumerate(table.header) if name in wanted]
    for number, cells in table.rows(refuse, read):
        yield number, {name: cells[place] for place, name in names}


def _noticed(read: Read) -> str:
    if not read.several_lines:
        return ""
    rows = "1 row has" if read.several_lines == 1 else f"{read.several_lines:,} rows have"
    return f"{rows} cells with line ends"


_PEEK_ROWS = 1000


def json_rows(path: Path) -> Numbered:
    """Yield the objects of a file with the numbers of their lines."""
    for number, _, line in read_lines(path):
        if line.strip():
            # NaN means missing. Texts are cleaned when they are counted.
            yield number, parse_line(line, path, number, nan_is_null=True, any_text=True)


def _parquet_rows(path: Path, wanted: Collection[str]) -> Numbered:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if name in wanted]
            for batch in file.iter_batches(_fitting_rows(file.metadata), columns=names):
                # If texts repeat, rows are longer than their size in the file.
                size = _fitting(batch.nbytes // max(batch.num_rows, 1))
                for start in range(0, batch.num_rows, size):
                    for row in batch.slice(start, size).to_pylist():
                        number += 1
                        yield number, row
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"cannot be read after row {number}: {error}", where=str(path)) from error


def _fitting_rows(metadata: pq.FileMetaData) -> int:
    """Return the number of rows of a batch, by the row group with the longest rows."""
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    longest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return _fitting(longest)


def _fitting(row_bytes: int) -> int:
    return min(BATCH_ROWS, max(1, BATCH_BYTES // max(row_bytes, 1)))


_OURS = {"text": "reference", "pred_text": "hypothesis", "duration": "seconds", "speaker_id": "speaker"}
_NO_ANSWER = ("na", "")


def is_nemo(columns: Collection[str]) -> bool:
    """Return whether the columns are NeMo's. Rows with our names for both texts are not.

    Examples
    --------
    >>> is_nemo(["audio_filepath", "text", "pred_text"]), is_nemo(["id", "reference", "hypothesis"])
    (True, False)
    """
    return ("pred_text" in columns or "audio_filepath" in columns) and "hypothesis" not in columns


def nemo_row(row: Row) -> Row:
    """Return a row under our names.

    Raises
    ------
    ValueError
        If the offset is not a number of seconds.

    Examples
    --------
    >>> nemo_row({"audio_filepath": "a.wav", "offset": 2.5, "text": "yes", "pred_text": "yes"})["id"]
    'a.wav@2.5'
    """
    ours: dict[str, Any] = {}
    for name, value in row.items():
        new = _OURS.get(name, name)
        ours[name if new in row else new] = value
    answer = row.get("answer")
    if isinstance(answer, str) and answer not in _NO_ANSWER and "reference" not in row:
        ours["reference"] = answer
    if "id" not in row and row.get("audio_filepath"):
        ours["id"] = segment_id(str(row["audio_filepath"]), row.get("offset"))
    return ours


def adapt_nemo(source: Source, translations: bool) -> Source:
    """Return a table of NeMo's columns under our names; `translations`: whether its languages differ."""

    def rows(wanted: Collection[str], refuse: Refuse) -> Numbered:
        for number, row in source.rows([*wanted, *_OURS, "audio_filepath", "offset", "answer"], refuse):
            try:
                yield number, nemo_row(row)
            except ValueError as error:
                refuse(number, f"`offset`: {error}")

    return replace(
        source,
        columns=tuple(nemo_row(dict.fromkeys(source.columns)) | ({} if "id" in source.columns else {"id": None})),
        rows=rows,
        path_column=None if "id" in source.columns else "audio_filepath",
        note=join_notes(source.note, "NeMo's columns"),
        task="st" if translations else None,
    )


def translates(rows: Collection[Row]) -> bool:
    """Return whether source and target language differ in all rows that name them."""
    said = [(row.get("source_lang"), row.get("target_lang")) for row in rows]
    pairs = [pair for pair in said if all(pair)]
    return bool(pairs) and all(source != target for source, target in pairs)


HYPOTHESES = ("hypothesis", "pred_text", "hyp", "prediction")
"""Names of custom values; the first that exists is used."""


def lhotse_row(row: Row) -> Row:
    """Return a cut under our names.

    Raises
    ------
    ValueError
        If it is not a span of one file.
    """
    ours = cut_row(row)
    if "reference" not in ours and "text" in ours:
        ours["reference"] = ours.pop("text")
    if "hypothesis" not in ours:
        name = next((name for name in HYPOTHESES if name in ours), None)
        if name is not None:
            ours["hypothesis"] = ours.pop(name)
    return ours


def adapt_lhotse(source: Source, first: Collection[Row]) -> Source:
    """Return cuts as rows under our names; `first` has the columns."""

    def rows(wanted: Collection[str], refuse: Refuse) -> Numbered:
        for number, row in source.rows(wanted, refuse):
            try:
                yield number, lhotse_row(row)
            except (ValueError, TypeError) as error:
                refuse(number, str(error))

    columns: dict[str, None] = {}
    for row in first:
        try:
            columns |= dict.fromkeys(lhotse_row(row))
        except (ValueError, TypeError):
            continue
    return replace(source, columns=tuple(columns), rows=rows, note=join_notes(source.note, "lhotse's cuts"))
