"""The only module that opens audio: a span of a file becomes mono float32 at the rate asked for.

soundfile reads wav, flac, ogg and mp3 and seeks, so a 5 s span of a long file costs 5 s of decoding; soxr resamples.
What libsndfile does not read (g722, m4a) goes through PyAV where it is installed.
"""

from __future__ import annotations

import os
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
    if path.suffix.lower() in AV_SUFFIXES:
        samples, rate = _decode_with_av(path)
        frames, channels = samples.shape
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
    samples, rate = _decode_span(Path(clip.path), clip.start, clip.seconds)
    if samples.shape[0] == 0:
        raise AudioError("the file has no samples")
    mono = samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise AudioError("contains NaN or infinite samples")
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="HQ")
    return np.ascontiguousarray(mono, dtype=np.float32)


def _decode_span(path: Path, start_seconds: float, seconds: float) -> tuple[Waveform, int]:
    _check_readable(path)
    if path.suffix.lower() in AV_SUFFIXES:
        samples, rate = _decode_with_av(path)
        first = round(start_seconds * rate)
        return samples[first : first + round(seconds * rate)], rate
    try:
        with soundfile.SoundFile(os.fsencode(path)) as file:
            rate = file.samplerate
            first, wanted = round(start_seconds * rate), round(seconds * rate)
            file.seek(min(first, file.frames))
            samples = file.read(wanted, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise AudioError(f"damaged or truncated: {_short(error, path)}") from error
    # A rounding of one sample is fine; more means the file ends before the header or the manifest says.
    if samples.shape[0] < wanted - max(1, rate // 1000):
        raise AudioError(
            f"truncated: {samples.shape[0] / rate:.3f} s could be decoded of the {wanted / rate:.3f} s expected"
        )
    return samples, rate


def _decode_with_av(path: Path) -> tuple[Waveform, int]:
    try:
        import av
    except ModuleNotFoundError as error:
        raise AudioError(f"the format {path.suffix} needs PyAV: {install_hint('av')}") from error
    try:
        # Raw g722 has no header to recognise it by.
        with av.open(str(path), format="g722" if path.suffix.lower() == ".g722" else None) as container:
            stream = container.streams.audio[0]
            blocks = [_av_samples(frame) for frame in container.decode(stream)]
            rate = int(stream.rate)
    except (av.error.FFmpegError, IndexError, ValueError) as error:
        raise AudioError(f"not an audio file that can be read: {_short(error, path)}") from error
    if not blocks:
        raise AudioError("the file has no samples")
    return np.concatenate(blocks), rate


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
