"""The only module that opens audio: a span of a file becomes mono float32 at the rate asked for.

soundfile reads wav, flac, ogg and mp3 and seeks, so a 5 s span of a long file costs 5 s of decoding; soxr resamples.
What libsndfile does not read (g722, m4a) goes through PyAV where it is installed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from audio_ssl.catalog import install_hint
from audio_ssl.errors import AudioError

if TYPE_CHECKING:
    from audio_ssl.data.manifest import Clip

Waveform = npt.NDArray[np.float32]

SOUNDFILE_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64"})
AV_SUFFIXES = frozenset({".g722", ".m4a", ".mp4", ".aac", ".wma", ".webm"})
SUFFIXES = SOUNDFILE_SUFFIXES | AV_SUFFIXES
"""File names that count as audio when a folder is scanned."""


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says."""

    seconds: float
    sample_rate: int
    channels: int
    frames: int


def audio_info(path: str | Path) -> AudioInfo:
    """Read the header of a file.

    Raises
    ------
    AudioError
        If the file is empty, unreadable, not audio, or has no samples.
    """
    path = Path(path)
    _check_readable(path)
    if path.suffix.lower() == ".g722":
        # Raw samples of four bits, with no header.
        frames, channels, rate = 2 * path.stat().st_size, 1, 16_000
    elif path.suffix.lower() in AV_SUFFIXES:
        # Containers say their length in seconds only, if at all; what is decoded is sure.
        frames, channels, rate = 0, 0, 1
        for block, block_rate in _blocks_with_av(path):
            frames, channels, rate = frames + len(block), block.shape[1], block_rate
    else:
        try:
            # As bytes: a name need not be UTF-8.
            header = soundfile.info(os.fsencode(path))
        except (soundfile.LibsndfileError, TypeError, ValueError) as error:
            raise AudioError(f"not an audio file that can be read: {_short(error, path)}") from error
        frames, channels, rate = header.frames, header.channels, header.samplerate
    if frames <= 0:
        raise AudioError("the file has no samples")
    return AudioInfo(frames / rate, rate, channels, frames)


def read_clip(clip: Clip, sample_rate: int) -> Waveform:
    """Read a clip's span as mono float32.

    Parameters
    ----------
    clip
        The manifest row; its `start` and `seconds` choose the span.
    sample_rate
        The rate wanted, in Hz; other rates are resampled (soxr, high quality).

    Returns
    -------
    ``[sample]``, the mean of the channels.

    Raises
    ------
    AudioError
        If the file cannot be decoded, is shorter than the span, or holds NaN or infinite samples.
    """
    pieces = list(_decode(Path(clip.path), clip.start, clip.seconds, block_seconds=None))
    if not pieces:
        raise AudioError("the file has no samples")
    rate = pieces[0][1]
    mono = np.concatenate([_mono(samples) for samples, _ in pieces])
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="HQ")
    return np.ascontiguousarray(mono, dtype=np.float32)


def read_blocks(clip: Clip, sample_rate: int, block_seconds: float = 20.0) -> Iterator[Waveform]:
    """Yield a clip's span piece by piece, for clips that are too long to hold: the samples of `read_clip`, to 1e-5.

    Parameters
    ----------
    clip
        The manifest row.
    sample_rate
        The rate wanted, in Hz.
    block_seconds
        About how much is decoded at once.

    Yields
    ------
    ``[sample]`` each; the pieces follow one another without a gap.

    Raises
    ------
    AudioError
        As `read_clip`; what is wrong with the end of a file is found when the pieces before it have been given.
    """
    resampler = None
    for samples, rate in _decode(Path(clip.path), clip.start, clip.seconds, block_seconds):
        mono = _mono(samples)
        if rate != sample_rate:
            resampler = resampler or soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
            mono = resampler.resample_chunk(mono)
        if len(mono):
            yield np.ascontiguousarray(mono, dtype=np.float32)
    if resampler is not None:
        rest = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        if len(rest):
            yield np.ascontiguousarray(rest, dtype=np.float32)


def _mono(samples: Waveform) -> Waveform:
    mono = samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise AudioError("contains NaN or infinite samples")
    return np.asarray(mono, dtype=np.float32)


def _decode(
    path: Path, start_seconds: float, seconds: float, block_seconds: float | None
) -> Iterator[tuple[Waveform, int]]:
    """Yield ``[sample, channel]`` pieces of a span and the file's rate; one piece if `block_seconds` is None."""
    _check_readable(path)
    way = _span_with_av if path.suffix.lower() in AV_SUFFIXES else _span_with_soundfile
    return way(path, start_seconds, seconds, block_seconds)


def _span_with_soundfile(
    path: Path, start_seconds: float, seconds: float, block_seconds: float | None
) -> Iterator[tuple[Waveform, int]]:
    got = 0
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            rate = file.samplerate
            wanted = round(seconds * rate)
            file.seek(min(round(start_seconds * rate), file.frames))
            while got < wanted:
                size = wanted - got if block_seconds is None else min(wanted - got, max(1, int(block_seconds * rate)))
                samples = file.read(size, dtype="float32", always_2d=True)
                got += len(samples)
                if len(samples):
                    yield samples, rate
                if len(samples) < size:
                    break
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise AudioError(f"damaged or truncated: {_short(error, path)}") from error
    # A rounding of one sample is fine; more means the file ends before the header or the manifest says.
    if got and got < wanted - max(1, rate // 1000):
        raise AudioError(f"truncated: {got / rate:.3f} s could be decoded of the {wanted / rate:.3f} s expected")


def _span_with_av(
    path: Path, start_seconds: float, seconds: float, block_seconds: float | None
) -> Iterator[tuple[Waveform, int]]:
    held: list[Waveform] = []
    rate = position = size = 0
    for block, rate in _blocks_with_av(path):
        first, last = round(start_seconds * rate), round((start_seconds + seconds) * rate)
        begin, position = position, position + len(block)
        inner = block[max(0, first - begin) : max(0, last - begin)]
        if len(inner):
            held.append(inner)
            size += len(inner)
        if position >= last:
            break
        if block_seconds is not None and size >= block_seconds * rate:
            yield np.concatenate(held), rate
            held, size = [], 0
    if held:
        yield np.concatenate(held), rate


def _blocks_with_av(path: Path) -> Iterator[tuple[Waveform, int]]:
    try:
        import av
    except ModuleNotFoundError as error:
        raise AudioError(f"the format {path.suffix} needs PyAV: {install_hint('av')}") from error
    try:
        # Raw g722 has no header to recognise it by.
        with av.open(str(path), format="g722" if path.suffix.lower() == ".g722" else None) as container:
            stream = container.streams.audio[0]
            for frame in container.decode(stream):
                yield _av_samples(frame), int(stream.rate)
    except (av.error.FFmpegError, IndexError, ValueError) as error:
        raise AudioError(f"not an audio file that can be read: {_short(error, path)}") from error


def _av_samples(frame: object) -> Waveform:
    """Return one decoded frame as ``[sample, channel]`` float32 in [-1, 1]."""
    block = frame.to_ndarray()  # type: ignore[attr-defined]
    channels = len(frame.layout.channels)  # type: ignore[attr-defined]
    planar = block.shape[0] == channels and frame.format.is_planar  # type: ignore[attr-defined]
    samples = block.T if planar else block.reshape(-1, channels)
    if np.issubdtype(samples.dtype, np.integer):
        return np.asarray(samples / -float(np.iinfo(samples.dtype).min), dtype=np.float32)
    return np.asarray(samples, dtype=np.float32)


def _check_readable(path: Path) -> None:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise AudioError("not a regular file")
        with path.open("rb"):
            pass
    except OSError as error:
        raise AudioError(f"cannot be opened: {error.strerror or error}") from error
    if size == 0:
        raise AudioError("the file is empty (0 bytes)")


def _short(error: BaseException, path: Path) -> str:
    """Return an error's text without the file's path, which the ledger has already."""
    text = str(error)
    for form in (repr(os.fsencode(path)), repr(str(path)), str(path)):
        text = text.replace(form, "the file")
    return text.splitlines()[0] if text else type(error).__name__
