"""Carries out a job that writes an array for every clip: claims the folder, shares the clips out, writes the index."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from audio_ssl.artifacts.features import INDEX_FILE, Extraction, read_extraction, write_extraction
from audio_ssl.artifacts.records import to_json
from audio_ssl.base.checksums import require_unchanged
from audio_ssl.base.errors import UserError, shown
from audio_ssl.features.clips import SCHEME
from audio_ssl.features.index import publish, remove_damaged
from audio_ssl.features.job import ClipJob
from audio_ssl.features.sharing import Engine, collect_ledgers, share_out, told
from audio_ssl.features.source import FeatureSource, ModelSource
from audio_ssl.models.fast.prepared import check_precision

logger = logging.getLogger(__name__)

Once = Callable[[], None]
"""What one process does while it holds the folder."""


def carry_out(
    job: ClipJob, source: FeatureSource, engine: Engine, before: Once = lambda: None, after: Once = lambda: None
) -> None:
    """Do a job; a stopped one is continued.

    Parameters
    ----------
    job
        Checked: what it asks for fits together.
    source
        Its source, opened for the checks.
    engine
        Where its processes run.
    before
        Done when the folder is claimed, before any clip.
    after
        Done when the index is written.

    Raises
    ------
    UserError
        If the folder holds something else, or no file can be used.
    """
    # With `auto`, the workers of a cluster may have GPUs that this machine lacks.
    if isinstance(source, ModelSource) and (not engine.starts_processes or job.settings.device != "auto"):
        check_precision(job.settings.precision, job.settings.torch_device())
    out = Path(job.out)

    def begin() -> None:
        _claim(out, job.extraction(source), job.command())
        require_unchanged(out / INDEX_FILE)
        remove_damaged(out)
        before()

    def finish() -> None:
        # Publishing removes the journals.
        ledger = collect_ledgers(out)
        logger.info(told(publish(out), ledger, Path(job.audio)))
        after()

    share_out(job, engine, out, begin, finish)


def _claim(out: Path, extraction: Extraction, command: str) -> None:
    """Record what is extracted, or check that the folder holds a part of the same extraction."""
    begun = read_extraction(out)
    if begun is None:
        write_extraction(out, replace(extraction, names=SCHEME, command=command))
        return
    there, here = to_json(begun), to_json(extraction)
    changed = [key for key in here if there.get(key) != here[key]]
    if changed:
        what = "; ".join(f"`{key}` is {shown(there.get(key))} there, {shown(here[key])} here" for key in changed)
        raise UserError(f"the folder holds another extraction: {what}", where=str(out), remedy="choose another --out")
