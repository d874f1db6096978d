"""The `extract` stage: features of a folder, a file or a manifest, resumable, with an index and an error ledger."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from audio_ssl.artifacts.features import Extraction, read_extraction, write_extraction
from audio_ssl.artifacts.records import to_json
from audio_ssl.artifacts.run import ERRORS_FILE
from audio_ssl.base.catalog import load_part, parts
from audio_ssl.base.config import module_traits
from audio_ssl.base.errors import UserError, shown
from audio_ssl.base.files import clear_partials, locked_folder
from audio_ssl.base.launch import read_place
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.features.clips import SCHEME
from audio_ssl.features.index import JOURNALS, publish, remove_damaged
from audio_ssl.features.job import EngineTraits, Job
from audio_ssl.features.settings import read_settings
from audio_ssl.features.source import FeatureSource, ModelSource, open_source
from audio_ssl.features.writing import WriterTraits
from audio_ssl.models.fast.prepared import check_precision

logger = logging.getLogger(__name__)


def extract(
    audio: Path,
    model: str,
    out: Path,
    *,
    layers: str = "all",
    pool: str = "none",
    format: str = "safetensors",
    dtype: str = "float32",
    rate: float | None = None,
    workers: int = 0,
    engine: str = "local",
    overrides: Sequence[str] = (),
) -> Path:
    """Write the features of every usable clip.

    Parameters
    ----------
    audio
        Folder, audio file or manifest (``.jsonl``).
    model
        What `open_source` takes.
    out
        Folder of the features, of ``index.jsonl`` and of ``errors.jsonl``. A stopped extraction is continued.
    layers
        ``all``, ``9``, ``0,4,-1``, or the folder of a probe's result: its mix of layers.
    pool
        ``none``, or over frames ``mean``, ``max`` or ``attentive``.
    format
        ``safetensors``, ``npy`` or ``parquet``.
    dtype
        ``float32``, ``float16`` or ``bfloat16``.
    rate
        Frames a second; None: the model's own.
    workers
        Threads that decode; 0: a few.
    engine
        ``local``: this process, or those of torchrun or srun; ``ray``: workers on a Ray cluster.
    overrides
        ``key=value`` of `Settings`.

    Raises
    ------
    UserError
        If options do not fit, the folder holds another extraction, or no file can be used.
    """
    job = Job(str(audio), model, str(out), layers, pool, rate, format, dtype, read_settings(overrides, workers))
    if engine not in parts("features/engines"):
        raise UserError(f"`--engine` must be one of {', '.join(parts('features/engines'))}, but is `{engine}`")
    place = read_place(os.environ)
    starts_processes = module_traits(load_part("features/engines", engine), EngineTraits).starts_processes
    if starts_processes and place is not None:
        raise UserError(f"`--engine {engine}` starts processes of its own", remedy="start it without torchrun or srun")
    source = _check(job)
    # With `auto`, the workers of a cluster may have GPUs that this machine lacks.
    if isinstance(source, ModelSource) and (not starts_processes or job.settings.device != "auto"):
        check_precision(job.settings.precision, job.settings.torch_device())
    leads = place is None or place.rank == 0
    with ExitStack() as held:

        def begin() -> None:
            if leads:
                held.enter_context(locked_folder(out, deep=False))
                clear_partials(out / JOURNALS)
                _claim(out, job.extraction(source), job.command())
                remove_damaged(out)

        load_part("features/engines", engine).run(job, begin)
        if leads:
            _finish(out, audio)
    return out


def _check(job: Job) -> FeatureSource:
    """Check all options before any work."""
    formats = parts("features/writers")
    if job.format not in formats:
        raise UserError(f"`--format` must be one of {', '.join(formats)}, but is `{job.format}`")
    if job.dtype == "bfloat16" and not module_traits(load_part("features/writers", job.format), WriterTraits).bfloat16:
        raise UserError(
            f"the format {job.format} has no bfloat16", remedy="use --format safetensors or --dtype float16"
        )
    if not Path(job.audio).exists():
        raise UserError("no such file or folder", where=job.audio)
    source = open_source(job.model)
    job.arrangement(source)
    return source


def _claim(out: Path, extraction: Extraction, command: str) -> None:
    """Record what is extracted, or check that the folder holds a part of the same extraction."""
    begun = read_extraction(out)
    if begun is None:
        write_extraction(out, replace(extraction, names=SCHEME, command=command))
        return
    there, here = to_json(begun), to_json(extraction)
    changed = [key for key in here if there[key] != here[key]]
    if changed:
        what = "; ".join(f"`{key}` is {shown(there[key])} there, {shown(here[key])} here" for key in changed)
        raise UserError(f"the folder holds another extraction: {what}", where=str(out), remedy="choose another --out")


def _finish(out: Path, audio: Path) -> None:
    """Collect what the processes have recorded, and write the index."""
    ledger = ErrorLedger(out / ERRORS_FILE)
    found = (out / JOURNALS).glob("r*-*")
    names = {path.name.rsplit("-", 1)[0] for path in found if path.name.endswith(("-errors", "-notes"))}
    for path in (out / JOURNALS / f"{name}-errors" for name in sorted(names)):
        part = ErrorLedger(path)
        for row in part.rows():
            ledger.record(row.path, row.reason, **row.more)
        for note in part.notes():
            ledger.note(note.path, note.note, say=False)
    clips = publish(out)
    if not clips:
        why = f"the reasons are in {ledger.path}" if ledger.count else "none of the files is an audio file"
        raise UserError(f"no usable audio: {why}", where=str(audio))
    unusable = f"; {ledger.count} could not be used, see {ledger.path}" if ledger.count else ""
    notes = f"; {ledger.note_count} notes on files, see {ledger.notes_path}" if ledger.note_count else ""
    logger.info("%d clips%s%s", clips, unusable, notes)
