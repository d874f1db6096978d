"""Levels of clips, and the share of their samples at full scale.

The level is 20·log10 of the root mean square of the mono mixdown, in dB relative to full scale. A square wave of full
scale has 0 dBFS and a sine of full scale −3.01 dBFS (RMS convention; AES17 defines that sine as 0 dBFS). Pauses are
included, so it is neither a loudness (ITU-R BS.1770) nor an active speech level (ITU-T P.56).
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
"""Maximum number of decoding threads; there are at most as many as cores."""

_FULL_SCALE = 0.9999
"""Full scale: in 16 bits, values from 32,765 on."""


class Level(NamedTuple):
    """The level of one clip."""

    dbfs: float
    """Level of the whole span in dBFS; −inf if all samples are 0."""

    clipped: float
    """Share of samples at full scale."""


def measure_level(clip: Clip) -> Level:
    """Measure one clip at the file's own sample rate. The memory does not depend on its length.

    Raises
    ------
    AudioError
        As `read_blocks`, and if there are no samples.
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
    """Measure the levels of clips with a progress bar.

    Parameters
    ----------
    clips
        Rows of a manifest.
    ledger
        Where clips that cannot be read are recorded with the reason.

    Returns
    -------
    One level per clip, in order; None for clips that cannot be read.
    """
    pool = background_pool(min(os.cpu_count() or 1, _MOST_THREADS))
    try:
        answers = zip(clips, in_order(pool, _try_level, clips, ahead=64), strict=True)
        return [_or_record(clip, answer, ledger) for clip, answer in track(answers, "levels", total=len(clips))]
    finally:
        pool.shutdown(cancel_futures=True)


def write_levels(out: Path, clips: Sequence[Clip], levels: Sequence[Level | None]) -> None:
    """Write a manifest with the column ``level_dbfs``, to a hundredth of a dB.

    Clips of digital silence and clips that cannot be read are kept without a level.

    Parameters
    ----------
    out
        The manifest to write, atomically. It may be the one that the clips come from.
    clips
        Clips of the manifest.
    levels
        Result of `measure_levels` for these clips.
    """
    write_manifest(out, (_with_level(clip, level) for clip, level in zip(clips, levels, strict=True)))


def _try_level(clip: Clip) -> Level | AudioError:
    """Return an error as a result, so that one thread writes the ledger in the order of the clips."""
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
