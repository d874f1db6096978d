"""Any Hugging Face dataset that lies on the disk: Parquet shards, `save_to_disk`, or an audio folder.

The files are read as what they are, Arrow tables, so neither the package `datasets` nor any code of the dataset's runs.
Audio inside the tables (the feature `Audio`, a struct of bytes and path) is written out as it is, beside the manifest,
under the hash of its content. Class labels get their names, which the tables carry. Columns are named as for the corpus
`table`: `--column text=sentence`. Binary and nested columns other than lists of texts are left out, and said to be.

Layout below the root, as downloaded or saved; any of::

    [data/]SPLIT-00000-of-00002.parquet     or SPLIT/0000.parquet
    [SPLIT/]data-00000-of-00001.arrow       as save_to_disk writes, with state.json
    [SPLIT/]metadata.csv (or jsonl)         file_name and other columns, audio beside it: an audio folder
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from audio_ssl.data.corpus import (
    SPLIT_NAMES,
    AudioError,
    Corpus,
    LeftOut,
    Rows,
    UserError,
    atomic_write,
    check_split,
    expected,
    match_columns,
    parse_object,
    require_folder,
    suffix_of,
    table_rows,
)
from audio_ssl.data.manifest import Clip

CORPUS = Corpus(
    name="hf_dataset",
    title="A Hugging Face dataset",
    description=(
        "A dataset downloaded from the Hugging Face hub or saved with save_to_disk: Parquet or Arrow tables with the "
        "audio in them, or an audio folder with its metadata. Nothing is downloaded and none of its code is run."
    ),
    licence="that of the dataset",
    citation="that of the dataset",
    size="that of the dataset, and its embedded audio once more, written out as files",
    layout="*.parquet, *.arrow or metadata.csv / metadata.jsonl at any depth, as downloaded or saved",
    splits={
        "train": "shards or folders of this name",
        "valid": "shards or folders named valid, validation, dev or val",
        "test": "shards or folders of this name",
    },
    # Whatever the dataset's own: `mul` is ISO 639-2 for several languages.
    languages=("mul",),
    labels=("text", "translation", "label", "tags", "speaker", "gender", "language", "split"),
)

_SHARD = re.compile(r"(.+?)-\d{5}-of-\d{5}")
_ROW_ID = "\0id"


def read(
    root: Path,
    split: str | None = None,
    *,
    left_out: LeftOut,
    columns: Mapping[str, str] | None = None,
    written: Path | None = None,
) -> Iterator[Clip]:
    """Yield one clip a row; rows without usable audio are left out.

    Parameters
    ----------
    root
        The dataset's folder.
    split
        Only rows of this split.
    columns
        Manifest name -> the dataset's column: ``{"text": "sentence"}``.
    written
        Where embedded audio is written; `root`/written_audio if None. `audio-ssl manifest` chooses a folder beside the
        manifest.

    Raises
    ------
    UserError
        If there are no tables below `root`, one cannot be read, or it lacks a column.
    """
    check_split(CORPUS, split)
    require_folder(root, CORPUS)
    tables = [
        p for name in ("*.parquet", "*.arrow", "metadata.csv", "metadata.jsonl") for p in sorted(root.rglob(name))
    ]
    # The package's own cache of mapped columns lies beside what it was made of.
    tables = [p for p in tables if not p.name.startswith(("cache-", "tmp"))]
    if not tables:
        raise expected(CORPUS, root, "there is no Parquet, Arrow or metadata file")
    for table in tables:
        own = _split_of(table, root)
        if split is not None and own is not None and own != split:
            continue
        shard = table.relative_to(root).with_suffix("").as_posix()
        rows: Rows | None = None
        for number, (row, audio) in enumerate(_read(table, columns or {}, left_out)):
            where = f"{table}, row {number}"
            if rows is None:
                names = match_columns(row, {"path": audio, **(columns or {})}, str(table))
                rows = Rows(names if "id" in names.values() else {**names, _ROW_ID: "id"}, table.parent)
            # Paths of embedded audio say little and may come twice; other files' names are good names.
            name = row[audio] if isinstance(row.get(audio), str) else None
            row_id = (table.parent.relative_to(root) / name).as_posix() if name else f"{shard}/{number:06d}"
            try:
                path = _audio_file(row.get(audio), table, root, written or root / "written_audio")
                clip = rows.clip({**row, audio: path, _ROW_ID: row_id}, where, own)
            except AudioError as error:
                left_out.add(where, error.reason)
                continue
            if split in (None, clip.split):
                yield clip


def _split_of(table: Path, root: Path) -> str | None:
    """Return the split that a table's name says, or that of the nearest folder with a split's name."""
    shard = _SHARD.fullmatch(table.stem)
    if shard and shard[1] != "data":
        return SPLIT_NAMES.get(shard[1].lower(), shard[1])
    parts = [table.stem, *reversed(table.relative_to(root).parts[:-1])]
    return next((SPLIT_NAMES[part.lower()] for part in parts if part.lower() in SPLIT_NAMES), None)


def _read(table: Path, columns: Mapping[str, str], left_out: LeftOut) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the rows of a table, each with the name of its column with audio."""
    if table.suffix in (".csv", ".jsonl"):
        for _, row in table_rows(table, left_out):
            yield row, columns.get("path", "file_name")
        return
    try:
        schema, batches = _open(table)
        audio = columns.get("path") or _audio_column(schema, table)
        keep = [field.name for field in schema if field.name == audio or _is_plain(field.type)]
        for name in set(schema.names) - set(keep):
            left_out.add(f"{table}: {name}", f"column `{name}`, which is binary or nested")
        classes = _class_names(schema)
        for batch in batches:
            for row in batch.select(keep).to_pylist():
                for name, names in classes.items():
                    # -1 is how the hub says that the label is not known.
                    if isinstance(row.get(name), int):
                        row[name] = names[row[name]] if 0 <= row[name] < len(names) else None
                yield row, audio
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"the table cannot be read: {error}", where=str(table)) from error


def _open(table: Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    if table.suffix == ".parquet":
        file = pq.ParquetFile(table)
        # Few rows at a time: each may have minutes of audio.
        return file.schema_arrow, file.iter_batches(batch_size=16)
    source = pa.memory_map(str(table))
    try:
        stream = pa.ipc.open_stream(source)
    except pa.ArrowInvalid:
        stream = pa.ipc.open_file(source)
        return stream.schema, (stream.get_batch(n) for n in range(stream.num_record_batches))
    return stream.schema, iter(stream)


def _audio_column(schema: pa.Schema, table: Path) -> str:
    found = [f.name for f in schema if pa.types.is_struct(f.type) and {"bytes", "path"} <= {c.name for c in f.type}]
    if found:
        return str(found[0])
    for name in ("audio", "file", "path", "file_name"):
        if name in schema.names and _is_text(schema.field(name).type):
            return name
    raise UserError(
        f"no column has the audio; the columns are {', '.join(schema.names)}",
        where=str(table),
        remedy="say which: --column path=NAME",
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_text(kind.value_type)
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the names of the classes of each column of the feature ClassLabel."""
    try:
        features = parse_object((schema.metadata or {}).get(b"huggingface", b"{}"), "huggingface")["info"]["features"]
        labels = {k: v["names"] for k, v in features.items() if isinstance(v, dict) and v.get("_type") == "ClassLabel"}
    except (UserError, KeyError, TypeError, AttributeError):
        return {}
    return {name: [str(n) for n in names] for name, names in labels.items() if isinstance(names, list)}


def _audio_file(value: Any, table: Path, root: Path, written: Path) -> str:
    """Return the path of a row's audio, writing embedded audio out; AudioError if there is none."""
    content, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (None, value)
    if content is None:
        if not isinstance(path, str) or not path:
            raise AudioError("no audio in the row")
        # An audio folder's paths start at its metadata, others' where the dataset was made.
        return str(next((f / path for f in (table.parent, root) if (f / path).is_file()), table.parent / path))
    # By the content: a name may lie, and most rows have none.
    suffix = suffix_of(content, path or "")
    if suffix is None:
        raise AudioError("the embedded audio is of no known format")
    # The name comes from the content, never from the table: it cannot leave the folder, and twice the same is one file.
    file = written / f"{hashlib.sha256(content).hexdigest()[:24]}{suffix}"
    if not file.is_file():
        with atomic_write(file) as partial:
            partial.write_bytes(content)
    return str(file.resolve())
