"""How loud clips are: the level of each whole span, its peak, and how much of it stands at full scale.

A level is 20·log10 of the root mean square of the mono mixdown, in dB relative to full scale: a square wave of full
scale has 0 dBFS and a sine of full scale −3.01 dBFS (RMS convention; AES17 calls that sine 0 dBFS). Silence and pauses
count, so it is no loudness after ITU-R BS.1770 and no speech level after ITU-T P.56.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio_ssl.base.errors import AudioError
from audio_ssl.base.progress import track
from audio_ssl.base.threads import background_pool, in_order
from audio_ssl.data.audio import read_blocks
from audio_ssl.data.columns import LEVEL_COLUMN
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip, write_manifest

_MOST_THREADS = 8
"""That decode; as many as there are cores, up to this."""

_FULL_SCALE = 0.9999
"""Above what 16 bits can hold between 32,764 and the largest number."""


class Level(NamedTuple):
    """How loud one clip is."""

    dbfs: float
    """Of the whole span; −inf where every sample is 0."""

    clipped: float
    """Share of samples at full scale."""


def measure_level(clip: Clip) -> Level:
    """Measure one clip at the file's own rate, in memory that does not grow with its length.

    Raises
    ------
    AudioError
        As `read_blocks`; also where nothing could be decoded.
    """
    energy, clipped, number = 0.0, 0, 0
    for block in read_blocks(clip, clip.sample_rate):
        energy += float(np.dot(block.astype(np.float64), block))
        clipped += int(np.count_nonzero(np.abs(block) >= _FULL_SCALE))
        number += len(block)
    if number == 0:
        raise AudioError("the file has no samples")
    return Level(_decibels(math.sqrt(energy / number)), clipped / number)


def measure_levels(clips: Sequence[Clip], ledger: ErrorLedger) -> list[Level | None]:
    """Measure the levels of clips; progress is shown.

    Parameters
    ----------
    clips
        Rows of a manifest.
    ledger
        Receives each clip that cannot be read, with its reason.

    Returns
    -------
    One for each clip, in order; None where it cannot be read.
    """
    pool = background_pool(min(os.cpu_count() or 1, _MOST_THREADS))
    try:
        answers = zip(clips, in_order(pool, _try_level, clips, ahead=64), strict=True)
        return [_or_record(clip, answer, ledger) for clip, answer in track(answers, "levels", total=len(clips))]
    finally:
        pool.shutdown(cancel_futures=True)


def write_levels(out: Path, clips: Sequence[Clip], levels: Sequence[Level | None]) -> None:
    """Write a manifest with the column ``level_dbfs``, to a hundredth of a dB.

    Clips of digital silence and clips that cannot be read are kept without a level, as JSON has no infinity.

    Parameters
    ----------
    out
        The manifest to write, atomically; may be the one that the clips are from.
    clips
        What `read_manifest` returned.
    levels
        What `measure_levels` returned for them.
    """
    write_manifest(out, (_with_level(clip, level) for clip, level in zip(clips, levels, strict=True)))


def _try_level(clip: Clip) -> Level | AudioError:
    """Keep errors as answers: the ledger is written in the order of the clips, by one thread."""
    try:
        return measure_level(clip)
    except AudioError as error:
        return error


def _or_record(clip: Clip, answer: Level | AudioError, ledger: ErrorLedger) -> Level | None:
    if isinstance(answer, AudioError):
        ledger.record(clip.path, answer.reason, id=clip.id)
        return None
    return answer


def _with_level(clip: Clip, level: Level | None) -> Clip:
    written = None if level is None or not math.isfinite(level.dbfs) else round(level.dbfs, 2)
    return dataclasses.replace(clip, extra={**clip.extra, LEVEL_COLUMN: written})


def _decibels(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf
