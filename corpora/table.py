"""Any table of audio files: CSV, TSV or JSON Lines with a header; the columns are named on the command line.

`audio-ssl manifest table --root clips.csv --column text=sentence --column speaker=client_id --out M.jsonl` takes the
column `sentence` for the transcript. A column whose name manifests know (id, start, seconds, text, translation, label,
tags, speaker, gender, language, split) is taken for that without being named, as is one of path, audio, file, filename
... for the audio file; `offset` and `duration` are the span of a longer file. Ids, where there are none, are the path,
with `@START` behind it where a span begins later in the file. All further columns are kept. Tags are a list, or text
with |, ; or , between them.

Layout below the root, which may be the table itself, or a folder with one or more of them directly in it::

    NAME.csv (or tsv, jsonl)    a table called train, valid, validation, dev, val or test is that split
    ...                         the audio; relative paths start at the table's folder, or `--option folder=clips` in it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from audio_ssl.data.corpus import (
    SPLIT_NAMES,
    AudioError,
    Corpus,
    LeftOut,
    Rows,
    check_split,
    match_columns,
    table_files,
    table_rows,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="table",
    title="A table of audio files",
    description=(
        "Clips of your own with what a CSV, TSV or JSON Lines file says of them: transcripts, labels, tags, speakers, "
        "spans of longer files. Which column is what is said with --column; the rest is kept."
    ),
    licence="that of the files",
    citation="that of the files",
    size="that of the table",
    layout="a .csv, .tsv or .jsonl file with a header, as the root or directly below it; audio relative to its folder",
    splits={
        "train": "by the column `split`, else the table of this name",
        "valid": "by the column `split` (validation, dev and val too), else the table of this name",
        "test": "by the column `split`, else the table of this name",
    },
    # Whatever the table's own: `mul` is ISO 639-2 for several languages.
    languages=("mul",),
    labels=("text", "translation", "label", "tags", "speaker", "gender", "language", "split"),
)

SUFFIXES = (".csv", ".tsv", ".jsonl")


def read(
    root: Path,
    split: str | None = None,
    *,
    left_out: LeftOut,
    columns: Mapping[str, str] | None = None,
    folder: str = ".",
) -> Iterator[Clip]:
    """Yield one clip a row; rows without a usable file are left out.

    Parameters
    ----------
    root
        The table, or a folder of tables.
    split
        Only rows of this split.
    columns
        Manifest name -> the table's column: ``{"text": "sentence"}``.
    folder
        Where relative audio paths start, from the table's folder.

    Raises
    ------
    UserError
        If there is no table, it cannot be read, or it lacks a column.
    """
    check_split(CORPUS, split)
    for table in table_files(root, SUFFIXES, CORPUS, ".csv, .tsv or .jsonl"):
        rows: Rows | None = None
        names: Mapping[str, str] = {}
        for number, row in table_rows(table, left_out):
            where = f"{table}:{number}"
            # JSON rows need not have the same keys, so later ones may add columns.
            if rows is None or not row.keys() <= names.keys():
                names = match_columns([*names, *(k for k in row if k not in names)], columns or {}, where)
                rows = rows or Rows({}, table.parent / folder)
                rows.names = names
            try:
                clip = rows.clip(row, where, SPLIT_NAMES.get(table.stem.lower()))
            except AudioError as error:
                left_out.add(where, error.reason)
                continue
            if split in (None, clip.split):
                yield clip
