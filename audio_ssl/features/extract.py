"""The `extract` stage: features of a folder, a file or a manifest, resumable, with an index and an error ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audio_ssl.atomic import write_json, write_text
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip, read_manifest, scan_folder
from audio_ssl.errors import UserError
from audio_ssl.features.batches import SECONDS_PER_BATCH, stream
from audio_ssl.features.source import FeatureSource, open_source
from audio_ssl.features.writers import Writer, open_writer
from audio_ssl.progress import Progress

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
FORMATS = ("safetensors", "npy", "parquet")
POOLS = ("none", "mean")


def extract(
    audio: Path,
    model: str,
    out: Path,
    *,
    layers: str = "all",
    pool: str = "none",
    format: str = "safetensors",
    dtype: str = "float32",
    seconds_per_batch: float = SECONDS_PER_BATCH,
) -> Path:
    """Write the features of every usable clip.

    Parameters
    ----------
    audio
        Folder, audio file or manifest (``.jsonl``).
    model
        What `open_source` takes.
    out
        Folder of the features, of ``index.jsonl`` and of ``errors.jsonl``. An extraction that was stopped goes on.
    layers
        ``all``, ``9`` or ``0,4,-1``.
    pool
        ``none`` or ``mean`` over frames.
    format
        ``safetensors``, ``npy`` or ``parquet``.
    dtype
        ``float32``, ``float16`` or ``bfloat16``.
    seconds_per_batch
        Audio in one batch.

    Raises
    ------
    UserError
        For options that do not fit, a folder that holds another extraction, or when nothing is usable.
    """
    _check(pool, format, dtype)
    if not audio.exists():
        raise UserError("no such file or folder", where=str(audio))
    source = open_source(model)
    chosen = parse_layers(layers, source.num_layers)
    meta = {
        "model": source.fingerprint,
        "layers": chosen,
        "pool": pool,
        "format": format,
        "dtype": dtype,
        "hop_seconds": source.grid.hop_samples / source.sample_rate,
    }
    _claim(out, meta)
    with ErrorLedger(out / "errors.jsonl") as ledger:
        clips = read_manifest(audio) if audio.suffix == ".jsonl" else scan_folder(audio, ledger)
        writer = open_writer(format, out, meta)
        index = Index(out)
        try:
            _run(clips, source, writer, ledger, index, meta, seconds_per_batch)
        finally:
            writer.close()
            index.finish([clip.id for clip in clips])
        if not any(clip.id in index for clip in clips):
            raise UserError(f"no usable audio; the reasons are in {ledger.path}", where=str(audio))
    return out


def parse_layers(text: str, available: int) -> list[int]:
    """Return layer numbers; negative ones count from the last.

    Examples
    --------
    >>> parse_layers("0,-1", 5)
    [0, 4]
    """
    if text == "all":
        return list(range(available))
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"`--layers` must be all, a number or numbers like 0,4, but is `{text}`") from None
    for number in numbers:
        if not -available <= number < available:
            raise UserError(f"`--layers` has {number}, but this model has the layers 0 to {available - 1}")
    return [number % available for number in numbers]


def _check(pool: str, format: str, dtype: str) -> None:
    for name, value, known in (("pool", pool, POOLS), ("format", format, FORMATS), ("dtype", dtype, tuple(DTYPES))):
        if value not in known:
            raise UserError(f"`--{name}` must be one of {', '.join(known)}, but is `{value}`")
    if dtype == "bfloat16" and format != "safetensors":
        raise UserError(f"the format {format} has no bfloat16", remedy="use --format safetensors or --dtype float16")


def _claim(out: Path, meta: dict[str, Any]) -> None:
    """Write what this extraction is, or check that the folder holds a part of the same one."""
    path = out / "extraction.json"
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))
        changed = [key for key in meta if old.get(key) != meta[key]]
        if changed:
            what = "; ".join(f"`{key}` is {old.get(key)!r} there, {meta[key]!r} here" for key in changed)
            raise UserError(
                f"the folder holds another extraction: {what}", where=str(out), remedy="choose another --out"
            )
    else:
        write_json(path, meta)


def _run(
    clips: Sequence[Clip],
    source: FeatureSource,
    writer: Writer,
    ledger: ErrorLedger,
    index: Index,
    meta: dict[str, Any],
    seconds_per_batch: float,
) -> None:
    # Asked once, in order: the .npy writer gives names away as it is asked.
    todo = [clip for clip in clips if not (writer.done(clip.id) and clip.id in index)]
    with Progress("extract", total=len(clips), initial=len(clips) - len(todo)) as progress:

        def refuse(clip: Clip, reason: str) -> None:
            ledger.record(clip.path, reason)
            progress.advance()

        for clip, tensors in stream(todo, source, refuse, meta["layers"], seconds_per_batch):
            array = _arrange(tensors, meta["pool"]).to(DTYPES[meta["dtype"]])
            if not writer.done(clip.id):
                writer.add(clip.id, array)
            index.add(_index_row(clip, len(tensors[0]), meta))
            progress.advance()


def _arrange(layers: Sequence[Tensor], pool: str) -> Tensor:
    """Return ``[frame, dim]`` for one layer, ``[layer, frame, dim]`` for several; without frames when pooled."""
    values = [layer.mean(0) for layer in layers] if pool == "mean" else list(layers)
    return values[0] if len(values) == 1 else torch.stack(values)


def _index_row(clip: Clip, frames: int, meta: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": clip.id,
        "path": clip.path,
        "seconds": clip.seconds,
        "frames": frames,
        "layers": meta["layers"],
        "hop_seconds": meta["hop_seconds"],
        "model": meta["model"],
    }


class Index:
    """``index.jsonl``: what was extracted. Kept in a journal while extracting, so that a kill loses no row."""

    def __init__(self, out: Path) -> None:
        self._path, self._journal = out / "index.jsonl", out / ".index.journal"
        self._rows: dict[str, dict[str, Any]] = {}
        for path in (self._path, self._journal):
            if path.exists():
                self._rows |= {row["id"]: row for row in _read_rows(path)}

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._rows

    def add(self, row: dict[str, Any]) -> None:
        """Add a clip's row, on the disk at once."""
        self._rows[row["id"]] = row
        with self._journal.open("a", encoding="ascii") as file:
            file.write(json.dumps(row, ensure_ascii=True) + "\n")

    def finish(self, order: Sequence[str]) -> None:
        """Write the index whole, in the order of the clips, and drop the journal."""
        if self._rows:
            names = dict.fromkeys([*order, *self._rows])
            rows = [self._rows[name] for name in names if name in self._rows]
            write_text(self._path, "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows))
        self._journal.unlink(missing_ok=True)


def _read_rows(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="ascii").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            # The last line of a killed run: its clip is extracted again.
            return
