"""Decodes a span of a file by libsndfile, or by PyAV for formats that libsndfile does not read.

The format is recognised by the first bytes (`formats`). A `Layout` describes how a file is decoded to its end if its
header is missing or wrong. Both are determined once per file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from audio_ssl.base.catalog import install_hint
from audio_ssl.base.errors import AudioError
from audio_ssl.data.audio.flac import flac_layout
from audio_ssl.data.audio.formats import AV_SUFFIXES, Format, sniff_file
from audio_ssl.data.audio.headers import SIZED, Data, Layout, Link, ogg_layout, open_view, riff_layout, sized_layout
from audio_ssl.data.audio.mpeg import mpeg_layout

Waveform = npt.NDArray[np.float32]
Pieces = Iterator[tuple[Waveform, int]]
"""Blocks, ``[sample, channel]``, with the sample rate."""

_LAYOUTS: dict[str, Callable[[Data], Layout]] = {
    "FLAC": flac_layout,
    "Ogg": ogg_layout,
    "WAV": riff_layout,
    "MPEG audio": mpeg_layout,
}
_READ_WHOLE = frozenset({"Ogg", "MPEG audio"})
"""Formats of which every page is checked."""
_MPEG_SUFFIXES = frozenset({".mp3", ".mp2", ".mpga"})
_MOST_SAMPLES_PER_BYTE = 1 << 16
"""Maximum samples per byte; no format compresses digital silence more."""
_MMAP_BYTES = 256 << 20
_SAYS_SECONDS = frozenset({"MP4", "3GPP", "WebM", "Matroska", "ASF", "WavPack", "Monkey's Audio", "True Audio"})
"""Containers whose header has the length. ffmpeg estimates the length of others from their bit rate."""
SAYS_SAMPLES = frozenset({"FLAC"})
"""Formats whose header has the exact length."""
_OPTIONS = {"protocol_whitelist": "file,pipe,fd"}
"""Protocols of PyAV; a playlist must not open network addresses."""
_SKIP_SAMPLES = 1 << 16


@dataclass(frozen=True)
class Way:
    """How a file is decoded."""

    decoder: str
    """``soundfile`` or ``av``."""
    layout: Layout
    format: Format | None
    frames: int = 0
    """Number of samples of all streams, by libsndfile."""
    rate: int = 0
    channels: int = 0


def way_of(path: Path) -> Way:
    """Return how a file is decoded.

    Raises
    ------
    AudioError
        If the file cannot be opened, is empty, or is not audio that can be read here.
    """
    try:
        status = path.stat()
        if not path.is_file():
            raise AudioError("not a regular file")
        with path.open("rb"):
            pass
    except OSError as error:
        raise AudioError(f"cannot be opened: {error.strerror or error}") from error
    except ValueError as error:
        raise AudioError(f"not a valid file name: {error}") from error
    if status.st_size == 0:
        raise AudioError("the file is empty (0 bytes)")
    return _look(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _look(name: str, size: int, _changed: int) -> Way:
    path = Path(name)
    suffix = path.suffix.lower()
    found = sniff_file(path)
    if suffix == ".g722" and found is None:
        # Raw 4-bit samples without a header.
        return Way("av", Layout(), None, 2 * size, 16_000, 1)
    if found is None and suffix in _MPEG_SUFFIXES:
        # A stream cut out of another one may begin within a frame.
        found = Format("MPEG audio", ".mp3")
    by_av = Way("av", Layout(exact=False), found)
    if found is None and suffix in AV_SUFFIXES:
        return by_av
    layout = _layout(path, found, size)
    try:
        frames, rate, channels = 0, 0, 0
        for link in layout.links or (None,):
            with opened(path, link) as file:
                if rate and file.samplerate != rate:
                    raise AudioError(f"its streams have different rates: {rate} and {file.samplerate} Hz")
                frames, rate, channels = frames + file.frames, file.samplerate, max(channels, file.channels)
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        if found is None:
            raise AudioError(f"not an audio file that can be read: {short(error, path)}") from error
        if not _has_av():
            needs = f"libsndfile cannot read this {found.name} file, and PyAV, which may, is not installed"
            raise AudioError(f"{needs}: {install_hint('av')}") from error
        return by_av
    if frames > _MOST_SAMPLES_PER_BYTE * size:
        return by_av
    return Way("soundfile", layout, found, frames, rate, channels)


def _layout(path: Path, found: Format | None, size: int) -> Layout:
    if found is None:
        return Layout()
    sized = partial(sized_layout, name=found.name) if found.name in SIZED else None
    look = _LAYOUTS.get(found.name, sized)
    if look is None:
        return Layout()
    try:
        with path.open("rb") as file:
            if found.name in _READ_WHOLE and size <= _MMAP_BYTES:
                return look(file.read())
            with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
                return look(data)
    except OSError as error:
        raise AudioError(f"cannot be read: {error.strerror or error}") from error


class Straight(soundfile.SoundFile):  # type: ignore[misc]
    """A file that claims not to be seekable.

    soundfile seeks to its position after each block of a seekable file. MPEG decoders then lose the bits that a frame
    shares with the frames before it.
    """

    def seekable(self) -> bool:
        """Return False."""
        return False

    @property
    def can_seek(self) -> bool:
        """Whether the file is seekable in fact."""
        return bool(super().seekable())


@contextmanager
def opened(path: Path, link: Link | None) -> Iterator[Straight]:
    """Open a file, or a link of its layout, with libsndfile."""
    if link is None:
        # As bytes, as a name need not be UTF-8.
        with Straight(os.fsencode(path)) as file:
            yield file
        return
    with open_view(path, link) as view, Straight(view) as file:
        yield file


def decode(path: Path, start_seconds: float, seconds: float, block_seconds: float | None) -> Pieces:
    """Yield blocks of a span, of about `block_seconds`; None: as few blocks as possible.

    Raises
    ------
    AudioError
        If the file cannot be decoded or is shorter than the span.
    """
    way = way_of(path)
    if way.decoder == "av":
        return _with_av(path, way, start_seconds, seconds, block_seconds)
    return _with_soundfile(path, way, start_seconds, seconds, block_seconds)


def count(path: Path, way: Way) -> tuple[int, int, int]:
    """Decode a file to its end; return its samples, rate and channels.

    Raises
    ------
    AudioError
        If it cannot be decoded.
    """
    samples, rate, channels = 0, way.rate or 1, way.channels
    blocks = blocks_with_av(path, way) if way.decoder == "av" else _whole(path, way)
    for block, block_rate in blocks:
        rate = block_rate
        samples, channels = samples + len(block), max(channels, block.shape[1])
    return samples, rate, channels


def _whole(path: Path, way: Way) -> Pieces:
    for link in way.layout.links or (None,):
        with _damage(path), opened(path, link) as file:
            left = file.frames
            while left > 0 and len(block := file.read(min(left, 1 << 20), dtype="float32", always_2d=True)):
                left -= len(block)
                yield block, file.samplerate


def _with_soundfile(path: Path, way: Way, start: float, seconds: float, block_seconds: float | None) -> Pieces:
    rate = way.rate
    first, wanted, got, place = round(start * rate), round(seconds * rate), 0, 0
    held = way.layout.truncated_seconds
    if held is not None and first + wanted > (held + 0.001) * rate:
        raise AudioError(_truncated(held, seconds))
    # Memory is allocated for the samples of the file, not for those that a manifest claims.
    wanted_there = min(wanted, max(0, way.frames - first))
    most = wanted_there if block_seconds is None else max(1, int(block_seconds * rate))
    for link in way.layout.links or (None,):
        with _damage(path), opened(path, link) as file:
            begin, place = place, place + file.frames
            if first >= place and way.layout.links:
                continue
            _go_to(file, max(0, first - begin), way.layout.preroll)
            while got < wanted_there:
                samples = file.read(min(wanted_there - got, most), dtype="float32", always_2d=True)
                if not len(samples):
                    break
                got += len(samples)
                yield samples, rate
        if got >= wanted_there:
            break
    # A rounding error of one sample is accepted. A larger difference means that the file is cut off.
    if got and got < wanted - max(1, rate // 1000):
        raise AudioError(_truncated(got / rate, wanted / rate))


def _truncated(there: float, wanted: float) -> str:
    expected = f"{wanted:.3f}" if wanted < 1e9 else f"{wanted:.3g}"
    return f"truncated: {there:.3f} s could be decoded of the {expected} s expected"


def _go_to(file: Straight, place: int, preroll: int) -> None:
    """Go to a sample. For formats that need the samples before it, these are decoded and dropped."""
    place = min(place, file.frames)
    if place == 0:
        return
    before = min(place, preroll) if file.can_seek else place
    if file.can_seek:
        file.seek(place - before)
    while before > 0:
        dropped = len(file.read(min(before, _SKIP_SAMPLES), dtype="float32"))
        if not dropped:
            return
        before -= dropped


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise AudioError(f"damaged or truncated: {short(error, path)}") from error


def _with_av(path: Path, way: Way, start: float, seconds: float, block_seconds: float | None) -> Pieces:
    held: list[Waveform] = []
    rate = position = size = 0
    for block, rate in blocks_with_av(path, way):
        first, last = round(start * rate), round((start + seconds) * rate)
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


def blocks_with_av(path: Path, way: Way) -> Pieces:
    """Yield the samples of a file, decoded by PyAV from its beginning.

    Raises
    ------
    AudioError
        If PyAV is not installed or cannot decode it.
    """
    name = way.format.name if way.format is not None else path.suffix
    try:
        import av
    except ModuleNotFoundError as error:
        raise AudioError(f"the format {name} needs PyAV: {install_hint('av')}") from error
    raw = way.format is None and path.suffix.lower() == ".g722"
    kind: tuple[int, int] | None = None
    samples = 0
    try:
        # Raw G.722 has no header, so its format must be named.
        with path.open("rb") as file, av.open(file, format="g722" if raw else None, options=_OPTIONS) as container:
            if not container.streams.audio:
                raise AudioError(f"this {name} file has no audio stream")
            for frame in container.decode(container.streams.audio[0]):
                block = _av_samples(frame)
                found = int(frame.sample_rate), block.shape[1]
                kind = kind or found
                if found != kind:
                    changes = f"{kind[0]} Hz of {kind[1]} to {found[0]} Hz of {found[1]} channels"
                    raise AudioError(f"changes from {changes} after {samples / kind[0]:.3f} s")
                samples += len(block)
                yield block, kind[0]
    except (av.error.FFmpegError, IndexError, ValueError, OSError) as error:
        done = f" after {samples / kind[0]:.3f} s" if kind is not None else ""
        reason = getattr(error, "strerror", None) or short(error, path)
        raise AudioError(f"not an audio file that can be read{done}: {reason}") from error


def said_by_av(path: Path, way: Way) -> float | None:
    """Return the length in seconds from the header of a file for PyAV; None without one, or if it is an estimate."""
    if way.format is None or way.format.name not in _SAYS_SECONDS | SAYS_SAMPLES:
        return None
    import av

    try:
        with path.open("rb") as file, av.open(file, options=_OPTIONS) as container:
            return float(container.duration / av.time_base) if container.duration else None
    except (av.error.FFmpegError, ValueError, OSError):
        return None


def _av_samples(frame: object) -> Waveform:
    """Return one decoded frame as ``[sample, channel]`` float32 in [-1, 1]."""
    block = frame.to_ndarray()  # type: ignore[attr-defined]
    channels = len(frame.layout.channels)  # type: ignore[attr-defined]
    planar = block.shape[0] == channels and frame.format.is_planar  # type: ignore[attr-defined]
    samples = block.T if planar else block.reshape(-1, channels)
    if samples.dtype == np.uint8:
        return np.asarray((samples.astype(np.float32) - 128) / 128, dtype=np.float32)
    if np.issubdtype(samples.dtype, np.integer):
        return np.asarray(samples / -float(np.iinfo(samples.dtype).min), dtype=np.float32)
    return np.asarray(samples, dtype=np.float32)


def _has_av() -> bool:
    try:
        import av  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def short(error: BaseException, path: Path) -> str:
    """Return the text of an error without the path of the file, which the ledger has."""
    text = str(error)
    for form in (repr(os.fsencode(path)), repr(str(path)), str(path)):
        text = text.replace(form, "the file")
    return text.splitlines()[0] if text else type(error).__name__
