"""The `extract` stage: features of a folder, a file or a manifest, resumable, with an index and an error ledger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from audio_ssl.base.catalog import load_part, parts
from audio_ssl.base.config import module_traits
from audio_ssl.base.errors import UserError
from audio_ssl.features.carry_out import carry_out
from audio_ssl.features.job import Job
from audio_ssl.features.settings import read_settings
from audio_ssl.features.sharing import open_engine
from audio_ssl.features.source import FeatureSource
from audio_ssl.features.writing import WriterTraits


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
    chosen = open_engine(engine)
    carry_out(job, _check(job), chosen)
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
    source = job.source()
    job.plan(source)
    return source
