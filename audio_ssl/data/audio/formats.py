"""Recognises formats by the first bytes of a file: one table for folder scans, decoding, and audio inside tables.

A suffix is only a hint: a WebM file may be called ``.wav``, and datasets have audio without a name. Formats without a
marker (raw G.722) are recognised by their suffix only. libsndfile decodes the formats that it reads; PyAV decodes the
others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from audio_ssl.data.audio.mpeg import id3_size, looks_like_mpeg

AV_SUFFIXES = frozenset(
    {".g722", ".m4a", ".m4b", ".mp4", ".aac", ".wma", ".webm", ".weba", ".mka", ".3gp", ".3g2", ".amr", ".ac3"}
    | {".wv", ".ape", ".spx", ".tta"}
)
SUFFIXES = AV_SUFFIXES | frozenset(
    {".wav", ".wave", ".rf64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".mpga", ".aif", ".aiff", ".aifc"}
    | {".au", ".snd", ".w64", ".caf", ".sph", ".nist", ".voc"}
)
"""Suffixes that count as audio without opening the file."""

OTHER_SUFFIXES = frozenset(
    {".txt", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".xml", ".md", ".html", ".pdf", ".log", ".lab", ".lrc"}
    | {".textgrid", ".trn", ".stm", ".ctm", ".phn", ".wrd", ".srt", ".vtt", ".cue", ".m3u", ".m3u8", ".key", ".beats"}
    | {".mid", ".midi", ".musicxml", ".mxl", ".jams", ".eaf", ".ini", ".cfg", ".sh", ".py", ".ipynb", ".zip", ".gz"}
    | {
        ".tar",
        ".tgz",
        ".bz2",
        ".xz",
        ".7z",
        ".parquet",
        ".arrow",
        ".npy",
        ".npz",
        ".h5",
        ".hdf5",
        ".pt",
        ".safetensors",
    }
    | {".jpg", ".jpeg", ".png", ".gif", ".svg", ".webp", ".bmp", ".db", ".sqlite", ".md5", ".sha256", ".pkl"}
)
"""Suffixes of other files, which are not opened."""

HEAD_BYTES = 4096
"""Number of bytes that `sniff` needs."""


@dataclass(frozen=True)
class Format:
    """A format."""

    name: str
    suffix: str
    """Usual suffix of the format."""


_WAV, _AIFF, _OGG = Format("WAV", ".wav"), Format("AIFF", ".aiff"), Format("Ogg", ".ogg")
MPEG, FLAC = Format("MPEG audio", ".mp3"), Format("FLAC", ".flac")
_MP4, _MATROSKA = Format("MP4", ".m4a"), Format("Matroska", ".mka")

_W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb"
_MARKS: tuple[tuple[bytes, Format], ...] = (
    (b"fLaC", FLAC),
    (b"OggS", _OGG),
    (b"RF64", Format("RF64", ".rf64")),
    (b"BW64", Format("RF64", ".rf64")),
    (_W64, Format("W64", ".w64")),
    (b".snd", Format("AU", ".au")),
    (b"dns.", Format("AU", ".au")),
    (b"caff", Format("CAF", ".caf")),
    (b"NIST_1A", Format("NIST SPHERE", ".sph")),
    (b"Creative Voice File", Format("VOC", ".voc")),
    (b"#!AMR", Format("AMR", ".amr")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Format("ASF", ".wma")),
    (b"wvpk", Format("WavPack", ".wv")),
    (b"MAC ", Format("Monkey's Audio", ".ape")),
    (b"TTA1", Format("True Audio", ".tta")),
    (b"ADIF", Format("AAC", ".aac")),
)


def _is_riff(head: bytes) -> Format | None:
    if head[:4] in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE":
        return _WAV
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _AIFF
    return None


def _is_mp4(head: bytes) -> Format | None:
    brand = head[8:11]
    if head[4:8] != b"ftyp" or brand in (b"avi", b"hei", b"mif", b"crx"):
        return None
    return Format("3GPP", ".3gp") if brand[:2] == b"3g" else _MP4


def _is_matroska(head: bytes) -> Format | None:
    if not head.startswith(b"\x1aE\xdf\xa3"):
        return None
    return Format("WebM", ".webm") if b"webm" in head[:64] else _MATROSKA


def _is_adts(head: bytes) -> Format | None:
    """Return whether the bytes are AAC: MPEG's sync word with layer 0, and a second frame after the first."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return None
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    following = head[size : size + 2]
    whole = len(following) < 2 or (following[0] == 0xFF and following[1] & 0xF6 == 0xF0)
    return Format("AAC", ".aac") if size >= 7 and whole else None


def _is_mpeg(head: bytes) -> Format | None:
    return MPEG if looks_like_mpeg(head) else None


_LOOKS: tuple[Callable[[bytes], Format | None], ...] = (_is_riff, _is_mp4, _is_matroska, _is_adts, _is_mpeg)


def sniff(head: bytes) -> Format | None:
    r"""Return the format of a file by its first bytes; None if it is not recognised.

    Parameters
    ----------
    head
        The first `HEAD_BYTES` of the file, or all of it.

    Examples
    --------
    >>> sniff(b"RIFF\x24\x00\x00\x00WAVEfmt ").suffix
    '.wav'
    >>> sniff(b"#EXTM3U") is None
    True
    """
    head = head[:HEAD_BYTES]
    if head.startswith(b"ID3") and len(head) >= 10:
        # An ID3 tag may precede several formats. The bytes after it tell which, if they are within the head.
        inner = head[10 + id3_size(head) :]
        return (sniff(inner) if inner and not inner.startswith(b"ID3") else None) or MPEG
    for mark, kind in _MARKS:
        if head.startswith(mark):
            return kind
    return next((found for look in _LOOKS if (found := look(head)) is not None), None)


def sniff_file(path: Path) -> Format | None:
    """Return the format of a file; None if it is not recognised or cannot be opened."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            if head.startswith(b"ID3") and len(head) >= 10:
                # A tag with a picture is longer than the head.
                file.seek(10 + id3_size(head))
                rest = file.read(HEAD_BYTES)
                return (sniff(rest) if not rest.startswith(b"ID3") else None) or MPEG
    except OSError:
        return None
    return sniff(head)


def may_be_audio(path: Path) -> bool:
    """Return whether a folder scan takes a file: by its suffix, or by its first bytes if the suffix is unknown."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return True
    return suffix not in OTHER_SUFFIXES and path.is_file() and sniff_file(path) is not None


def suffix_of(content: bytes, name: str = "") -> str | None:
    """Return the suffix for a file with these bytes: by its first bytes, else that of the name."""
    found = sniff(content)
    if found is not None:
        return found.suffix
    suffix = Path(name).suffix.lower()
    return suffix if suffix in SUFFIXES else None
