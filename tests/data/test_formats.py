"""Files are known by what is in them: magic bytes of every format that can be written here, and wrong names."""

import builtins
import io

import numpy as np
import pytest
import soundfile

from audio_ssl.base.errors import AudioError
from audio_ssl.data.audio import audio_info, read_clip
from audio_ssl.data.audio.decoding import _look
from audio_ssl.data.audio.formats import SUFFIXES, may_be_audio, sniff, suffix_of
from audio_ssl.data.manifest import Clip
from tests.mp3s import TAG, mp3, sound, without_header

WRITTEN = [
    ("WAV", "PCM_16", ".wav"), ("WAV", "GSM610", ".wav"), ("RF64", "PCM_16", ".rf64"), ("W64", "PCM_16", ".w64"),
    ("AIFF", "PCM_16", ".aiff"), ("AU", "PCM_16", ".au"), ("CAF", "PCM_16", ".caf"), ("NIST", "PCM_16", ".sph"),
    ("FLAC", "PCM_16", ".flac"), ("OGG", "VORBIS", ".ogg"), ("OGG", "OPUS", ".ogg"), ("VOC", "PCM_16", ".voc"),
    ("WAVEX", "PCM_16", ".wav"),
]  # fmt: skip


def encoded(codec, container, seconds=1.0, rate=16000):
    """Return a file that ffmpeg's encoders make."""
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        samples = (sound(seconds, rate)[:, 0] * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
    return buffer.getvalue()


ENCODED = [
    ("aac", "ipod", ".m4a", 16000), ("aac", "3gp", ".3gp", 16000), ("aac", "adts", ".aac", 16000),
    ("libopus", "webm", ".webm", 48000), ("libopus", "matroska", ".mka", 48000),
    ("wavpack", "wv", ".wv", 16000),
]  # fmt: skip


def clip_of(path):
    info = audio_info(path)
    return Clip("a", str(path), 0.0, info.seconds, info.sample_rate)


@pytest.mark.parametrize(("format", "subtype", "suffix"), WRITTEN)
def test_what_libsndfile_reads_is_read_under_any_name(tmp_path, format, subtype, suffix):
    buffer = io.BytesIO()
    soundfile.write(buffer, sound(1.0, 16000), 16000, format=format, subtype=subtype)
    content = buffer.getvalue()
    assert suffix_of(content) == suffix
    assert suffix in SUFFIXES
    for name in (f"a{suffix}", "a.wav", "a.mp3", "a.bin", "a"):
        (tmp_path / name).write_bytes(content)
        assert may_be_audio(tmp_path / name)
        assert len(read_clip(clip_of(tmp_path / name), 16000)) == 16000


@pytest.mark.parametrize(("codec", "container", "suffix", "rate"), ENCODED)
def test_what_ffmpeg_reads_is_read_under_any_name(tmp_path, codec, container, suffix, rate):
    content = encoded(codec, container, rate=rate)
    assert suffix_of(content, "a.wav") == suffix
    assert suffix in SUFFIXES
    lengths = set()
    for name in (f"a{suffix}", "a.wav", "a.mp3", "a"):
        (tmp_path / name).write_bytes(content)
        assert may_be_audio(tmp_path / name)
        lengths.add(len(read_clip(clip_of(tmp_path / name), rate)))
    assert len(lengths) == 1
    assert abs(lengths.pop() - rate) < 0.2 * rate


def test_a_container_that_was_cut_is_noted(tmp_path):
    notes = []
    content = encoded("libopus", "webm", 3.0, 48000)
    (tmp_path / "a.webm").write_bytes(content)
    assert audio_info(tmp_path / "a.webm", lambda _, text: notes.append(text)).seconds == pytest.approx(3.0, abs=0.05)
    assert notes == []
    (tmp_path / "a.webm").write_bytes(content[: len(content) // 2])
    info = audio_info(tmp_path / "a.webm", lambda _, text: notes.append(text))
    assert 1 < info.seconds < 2
    assert notes == [f"the header says 3.014 s, but {info.seconds:.3f} s are there and are used"]


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000])
def test_mp3_of_every_rate_is_known_without_a_name(tmp_path, rate):
    content = mp3(1.0, rate)
    bare = without_header(content) if rate in (16000, 24000, 44100, 48000) else content
    for data in (content, bare, TAG + content, TAG + TAG + content):
        assert sniff(data).suffix == ".mp3"
    (tmp_path / "a.wav").write_bytes(content)
    assert audio_info(tmp_path / "a.wav").frames == rate


def test_a_picture_in_the_tag_does_not_hide_what_follows(tmp_path):
    soundfile.write(tmp_path / "a.flac", sound(1.0, 16000), 16000)
    flac = (tmp_path / "a.flac").read_bytes()
    size = 30_000
    tag = b"ID3\x03\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + bytes(size)
    for name, content in (("a.flac", flac), ("a.mp3", mp3(1.0))):
        (tmp_path / name).write_bytes(tag + content)
        assert audio_info(tmp_path / name).frames == 16000


@pytest.mark.parametrize(
    "content",
    [b"this is text, and not audio at all\n" * 50, b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(500), b"\x89PNG\r\n\x1a\n",
     b"%PDF-1.7\n", b"PK\x03\x04" + bytes(100), b"\0" * 5000, b"GIF89a" + bytes(100), b"\x00\x00\x00\x18ftypavif",
     b"RIFF\x10\0\0\0WEBPVP8 ", b"RIFF\x10\0\0\0AVI LIST", b"\xff\xfe" + "UTF-16".encode("utf-16-le") * 99],
)  # fmt: skip
def test_other_files_are_no_audio(tmp_path, content):
    assert sniff(content) is None
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioError, match="not an audio file that can be read"):
        audio_info(tmp_path / "a.wav")


def test_noise_is_no_audio():
    noise = np.random.default_rng(0).integers(0, 256, (2000, 4096), dtype=np.uint8)
    assert sum(sniff(row.tobytes()) is not None for row in noise) == 0


def test_without_pyav_the_file_says_what_to_install(tmp_path, monkeypatch):
    content, real = encoded("aac", "ipod"), builtins.__import__

    def refuse(name, *rest):
        if name == "av":
            raise ModuleNotFoundError("No module named 'av'", name="av")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    for name in ("a.m4a", "a.wav", "b.webm"):
        (tmp_path / name).write_bytes(content if name[0] == "a" else b"\x1aE\xdf\xa3" + bytes(99))
        _look.cache_clear()
        with pytest.raises(AudioError, match=r"needs PyAV|PyAV, which may, is not installed.*pip install") as caught:
            audio_info(tmp_path / name)
        assert "pip install 'audio-ssl[" in caught.value.reason
        assert str(tmp_path) not in caught.value.reason
