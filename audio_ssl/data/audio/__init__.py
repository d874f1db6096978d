"""Reads audio: a span of a file becomes mono float32 at a given sample rate (resampled by soxr).

`decoding` decodes the samples. The length of a file is what the decoder gives: if a header is missing or wrong, the
samples are counted. Remarkable properties of files that are used are notes, logged once per file.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr

from audio_ssl.base.errors import AudioError
from audio_ssl.data.audio.decoding import SAYS_SAMPLES, Waveform, count, decode, said_by_av, way_of
from audio_ssl.data.audio.formats import SUFFIXES

if TYPE_CHECKING:
    from audio_ssl.data.manifest import Clip

__all__ = ["SUFFIXES", "AudioInfo", "Note", "Waveform", "audio_info", "notes_to", "read_blocks", "read_clip"]

logger = logging.getLogger(__name__)

Note = Callable[[str | Path, str], None]
"""Called with the path of a file and a note on it."""

OPPOSITE_PHASE = "its channels are in opposite phase: their mean is nearly silent"
_AUDIBLE = 1e-6
"""Mean square (-60 dBFS) below which channels are not compared."""
_CANCELLED = 1e-4
"""Mean square of the mixdown over that of the channels (-40 dB) below which channels cancel each other."""
_UNSURE_SECONDS = 0.25
"""Seconds by which the length of a container may differ from that of its audio (pictures, encoder delay)."""
_LOOKED_AT_SECONDS = 3.0
_SAID_MOST = 50


@dataclass(frozen=True)
class AudioInfo:
    """Length, sample rate and channels of a file."""

    seconds: float
    sample_rate: int
    channels: int
    frames: int


def audio_info(path: str | Path, note: Note | None = None, *, look_at_channels: bool = False) -> AudioInfo:
    """Return the length, sample rate and channels of a file.

    The header is used for formats in which it is reliable, after a check of the rest of the file. Other files are
    decoded to their end.

    Parameters
    ----------
    path
        The file.
    note
        Called if the header and the samples differ; None: they are logged, once per file.
    look_at_channels
        Decode the first seconds of files with two channels, and note if the channels cancel each other.

    Raises
    ------
    AudioError
        If the file is empty, unreadable, not audio, cut off, or has no samples.
    """
    path = Path(path)
    way = way_of(path)
    note = note or _say
    if way.layout.truncated_seconds is not None:
        there, said = way.layout.truncated_seconds, way.frames / max(1, way.rate)
        raise AudioError(f"truncated: {there:.3f} s can be decoded of the {said:.3f} s that its header says")
    if way.layout.exact:
        frames, rate, channels = way.frames, way.rate, way.channels
    else:
        frames, rate, channels = count(path, way)
    if frames <= 0:
        raise AudioError("the file has no samples")
    for text in way.layout.notes:
        note(path, text)
    claimed = said_by_av(path, way) if way.decoder == "av" else None
    exact = way.format is not None and way.format.name in SAYS_SAMPLES
    unsure = 0.001 if exact else max(_UNSURE_SECONDS, 0.02 * (claimed or 0.0))
    if claimed is not None and abs(claimed - frames / rate) > unsure:
        note(path, f"the header says {claimed:.3f} s, but {frames / rate:.3f} s are there and are used")
    info = AudioInfo(frames / rate, rate, channels, frames)
    if look_at_channels and channels == 2:
        _look_at_channels(path, info, note)
    return info


def read_clip(clip: Clip, sample_rate: int, note: Note | None = None) -> Waveform:
    """Read a clip's span as mono float32.

    Parameters
    ----------
    clip
        The manifest row; its `start` and `seconds` choose the span.
    sample_rate
        Sample rate of the result, in Hz (resampled by soxr, high quality).
    note
        Called if channels cancel each other, or the header and the samples differ; None: this is logged, once per
        file.

    Returns
    -------
    ``[sample]``, the mean of the channels.

    Raises
    ------
    AudioError
        If the file cannot be decoded, is shorter than the span, or has NaN or infinite samples.
    """
    path, mix = Path(clip.path), _Mix()
    pieces = [(mix.add(samples), rate) for samples, rate in decode(path, clip.start, clip.seconds, None)]
    if not pieces:
        raise AudioError(f"the file ends before {clip.start:.3f} s" if clip.start else "the file has no samples")
    mix.tell(path, note or _say)
    rate = pieces[0][1]
    return at_rate(np.concatenate([samples for samples, _ in pieces]), rate, sample_rate)


def at_rate(mono: Waveform, rate: int, sample_rate: int) -> Waveform:
    """Return samples ``[sample]`` of one rate in Hz at another, resampled by soxr in high quality, as float32."""
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="HQ")
    return np.ascontiguousarray(mono, dtype=np.float32)


def read_blocks(
    clip: Clip, sample_rate: int, block_seconds: float = 20.0, note: Note | None = None
) -> Iterator[Waveform]:
    """Yield a clip's span in blocks, for long clips: the samples of `read_clip`, to 1e-5.

    Parameters
    ----------
    clip
        The manifest row.
    sample_rate
        Sample rate of the result, in Hz.
    block_seconds
        Approximate length of a block.
    note
        As in `read_clip`.

    Yields
    ------
    Consecutive blocks, ``[sample]``.

    Raises
    ------
    AudioError
        As `read_clip`. An error at the end of a file is raised after the blocks before it.
    """
    resampler, path, mix = None, Path(clip.path), _Mix()
    for samples, rate in decode(path, clip.start, clip.seconds, block_seconds):
        mono = mix.add(samples)
        if rate != sample_rate:
            resampler = resampler or soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
            mono = resampler.resample_chunk(mono)
        if len(mono):
            yield np.ascontiguousarray(mono, dtype=np.float32)
    mix.tell(path, note or _say)
    if resampler is not None:
        rest = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        if len(rest):
            yield np.ascontiguousarray(rest, dtype=np.float32)


class _Mix:
    """Mixes channels to their mean, and detects channels that cancel each other."""

    def __init__(self) -> None:
        self._channels = self._mono = 0.0
        self._samples = 0

    def add(self, samples: Waveform) -> Waveform:
        """Return the mean of the channels; AudioError if a sample is not finite."""
        mono = samples.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mono).all():
            raise AudioError("contains NaN or infinite samples")
        if samples.shape[1] > 1:
            self._samples += len(samples)
            self._mono += float(np.dot(mono, mono))
            self._channels += float(np.vdot(samples, samples)) / samples.shape[1]
        return np.asarray(mono, dtype=np.float32)

    @property
    def audible(self) -> bool:
        """Whether the channels were loud enough to be compared."""
        return self._channels > _AUDIBLE * self._samples

    def tell(self, path: Path, note: Note) -> None:
        """Note channels that cancel each other."""
        if self.audible and self._mono < _CANCELLED * self._channels:
            note(path, OPPOSITE_PHASE)


def _look_at_channels(path: Path, info: AudioInfo, note: Note) -> None:
    """Compare the channels of the first seconds that are not silent."""
    mix, seconds = _Mix(), 0.0
    for samples, rate in decode(path, 0.0, info.seconds, 1.0):
        mix.add(samples)
        seconds += len(samples) / rate if mix.audible else 0.0
        if seconds >= _LOOKED_AT_SECONDS:
            break
    mix.tell(path, note)


_listener: ContextVar[Note | None] = ContextVar("listener", default=None)
_said: set[tuple[str, str]] = set()


@contextmanager
def notes_to(note: Note) -> Iterator[None]:
    """Pass the notes of this thread to a function, unless a call names another one."""
    token = _listener.set(note)
    try:
        yield
    finally:
        _listener.reset(token)


def _say(path: str | Path, text: str) -> None:
    """Pass a note to the listener; without one, log it once per file."""
    if (listener := _listener.get()) is not None:
        listener(path, text)
        return
    if len(_said) > _SAID_MOST or (str(path), text) in _said:
        return
    _said.add((str(path), text))
    logger.warning("%s: %s", path, text)
    if len(_said) > _SAID_MOST:
        logger.warning(
            "further notes on files are not logged; `audio-ssl manifest FOLDER --out M.jsonl` writes all of them"
        )
