"""Headers are hints: what a decoder gives to the end of a file is its length, and every span begins where it should."""

import numpy as np
import pytest
import soundfile

from audio_ssl.base.errors import AudioError
from audio_ssl.data.audio import audio_info, read_blocks, read_clip
from audio_ssl.data.audio.decoding import _look
from audio_ssl.data.manifest import Clip
from tests.mp3s import DELAY, TAG, count, mp3, sound, with_count, without_header


def notes_of(path):
    # The clock of a disk is coarse: a file written twice within a few milliseconds has one time.
    _look.cache_clear()
    notes = []
    info = audio_info(path, lambda _, text: notes.append(text))
    return info, notes


def whole(path, info):
    return read_clip(Clip("a", str(path), 0.0, info.seconds, info.sample_rate), info.sample_rate)


def check(path, samples, tolerance=0.0):
    """The length counted is the length read, at once, in blocks and in spans."""
    info, notes = notes_of(path)
    assert info.frames == samples
    read = whole(path, info)
    assert len(read) == samples
    clip = Clip("a", str(path), 0.0, info.seconds, info.sample_rate)
    np.testing.assert_array_equal(np.concatenate(list(read_blocks(clip, info.sample_rate, 0.7))), read)
    for start, length in ((1, 400), (samples // 3, 3000), (samples - 2000, 2000)):
        span = Clip("a", str(path), start / info.sample_rate, length / info.sample_rate, info.sample_rate)
        got = read_clip(span, info.sample_rate)
        np.testing.assert_allclose(got, read[start : start + length], rtol=0, atol=tolerance)
    return read, notes


MP3_RATES = [(16000, 1, 576), (8000, 1, 576), (44100, 2, 1152)]


@pytest.mark.parametrize(("rate", "channels", "frame"), MP3_RATES)
def test_mp3_headers_that_lie(tmp_path, rate, channels, frame):
    data, path = mp3(6.0, rate, channels), tmp_path / "a.mp3"
    frames = count(data)
    path.write_bytes(data)
    truth, notes = check(path, 6 * rate, 1e-6)
    assert not notes
    bare = without_header(data) if rate != 8000 else None
    cases = {
        "joined": (data + data, (2 * frames + 1) * frame - DELAY, True),
        "a tag between": (data + TAG + data + b"TAG" + bytes(125), (2 * frames + 1) * frame - DELAY, True),
        "a count of 0": (with_count(data, 0), frames * frame - DELAY, True),
        "a third": (with_count(data, frames // 3), frames * frame - DELAY, True),
        "doubled": (with_count(data, 2 * frames), frames * frame - DELAY, True),
    }
    if bare is not None:
        cases["no header"] = (bare, frames * frame, False)
        cases["joined, no header"] = (bare + TAG + bare, 2 * frames * frame, False)
        cases["rubbish between"] = (bare + bytes(3000) + bare, 2 * frames * frame, True)
        cases["cut out of another"] = (bare[30:], (frames - 1) * frame, False)
    for name, (content, samples, told) in cases.items():
        path.write_bytes(content)
        read, notes = check(path, samples, 1e-6)
        assert bool(notes) == told, (name, notes)
        if "header" not in name and "rubbish" not in name and "another" not in name:
            # What both have is the same, sample by sample.
            np.testing.assert_allclose(read[: 5 * rate], truth[: 5 * rate], atol=1e-6)


def test_a_header_that_lies_is_named_with_both_lengths(tmp_path):
    data = mp3(6.0)
    (tmp_path / "a.mp3").write_bytes(with_count(data, 2 * count(data)))
    _, notes = notes_of(tmp_path / "a.mp3")
    assert notes == ["the header says 12.099 s, but 6.015 s are there and are used"]


def test_a_header_that_decoders_take_for_audio_is_none(tmp_path):
    data = mp3(6.0)
    side = bytearray(data)
    # Of the side information, which is empty where a frame is a header.
    side[data.index(b"Xing") - 4] = 0x80
    (tmp_path / "a.mp3").write_bytes(bytes(side))
    assert notes_of(tmp_path / "a.mp3")[0].seconds >= 6.0


def test_a_minute_of_variable_bit_rate_without_a_header_is_a_minute(tmp_path):
    (tmp_path / "a.mp3").write_bytes(without_header(mp3(60.0, level=0.9)))
    assert 60 <= audio_info(tmp_path / "a.mp3").seconds < 60.2


@pytest.mark.parametrize("seed", range(3))
def test_spans_of_the_lowest_bit_rates_are_exact(tmp_path, seed):
    # Frames of 24 bytes take bits from many frames before them.
    path = tmp_path / "a.mp3"
    path.write_bytes(without_header(mp3(30.0, 16000, level=0.99, seed=seed)))
    info = audio_info(path)
    read = whole(path, info)
    for start in np.random.default_rng(seed).integers(0, info.frames - 4000, 20).tolist():
        span = read_clip(Clip("a", str(path), start / 16000, 0.2, 16000), 16000)
        np.testing.assert_allclose(span, read[start : start + 3200], atol=1e-6)


def test_joined_mp3_of_other_channels_and_rates(tmp_path):
    path = tmp_path / "a.mp3"
    path.write_bytes(mp3(2.0, 16000, 1) + mp3(2.0, 16000, 2))
    info, _ = notes_of(path)
    assert info.channels == 2
    assert 4.0 < info.seconds < 4.2
    assert len(whole(path, info)) == info.frames
    path.write_bytes(mp3(2.0, 16000, 1) + mp3(2.0, 44100, 1))
    info, notes = notes_of(path)
    assert 2.0 <= info.seconds < 2.1
    assert "the rate changes from 16000 to 44100 Hz after 2." in notes[0]


def flac(tmp_path, seconds, rate=16000, channels=1):
    soundfile.write(tmp_path / "made.flac", sound(seconds, rate, channels), rate)
    return (tmp_path / "made.flac").read_bytes()


def with_total(data, samples):
    number = int.from_bytes(data[18:26], "big") >> 36 << 36 | samples
    return data[:18] + number.to_bytes(8, "big") + data[26:]


@pytest.mark.parametrize(("rate", "channels", "samples"), [(16000, 1, 96000), (44100, 2, 100000), (16000, 1, 1000)])
def test_flac_of_any_header_has_the_samples_of_its_frames(tmp_path, rate, channels, samples):
    data, path = flac(tmp_path, samples / rate, rate, channels), tmp_path / "a.flac"
    cases = {
        "right": (data, samples, 0),
        "from a stream": (with_total(data, 0), samples, 0),
        "half": (with_total(data, samples // 2), samples, 1),
        "double": (with_total(data, 2 * samples), samples, 1),
        "joined": (data + data, 2 * samples, 1),
        "joined streams": (with_total(data, 0) + with_total(data, 0), 2 * samples, 0),
        "between tags": (TAG + with_total(data, 0) + b"TAG" + bytes(125), samples, 0),
    }
    for name, (content, expected, told) in cases.items():
        path.write_bytes(content)
        if expected > 2000:
            _, notes = check(path, expected)
        else:
            info, notes = notes_of(path)
            assert info.frames == len(whole(path, info)) == expected, name
        assert len(notes) == told, (name, notes)


def test_flac_that_was_cut(tmp_path):
    data, path = flac(tmp_path, 6.0), tmp_path / "a.flac"
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(AudioError, match=r"truncated: 3.840 s can be decoded of the 6.000 s that its header says"):
        audio_info(path)
    with pytest.raises(AudioError, match=r"truncated: 3.840 s could be decoded of the 6.000 s expected"):
        read_clip(Clip("a", str(path), 0.0, 6.0, 16000), 16000)
    assert len(read_clip(Clip("a", str(path), 1.0, 2.0, 16000), 16000)) == 32000
    path.write_bytes(with_total(data, 0)[: len(data) * 2 // 3])
    _, notes = check(path, 61440)
    assert notes == ["the file was cut: it ends within a frame after 3.840 s"]


def test_a_manifest_row_of_a_length_that_no_file_has(tmp_path):
    # As earlier versions wrote of FLAC from a stream.
    (tmp_path / "a.flac").write_bytes(with_total(flac(tmp_path, 1.0), 0))
    for seconds in (5.7e14, 1e300):
        with pytest.raises(AudioError, match=r"truncated: 1.000 s could be decoded"):
            read_clip(Clip("a", str(tmp_path / "a.flac"), 0.0, seconds, 16000), 16000)


def test_frames_of_flac_that_are_passed_over_are_said(tmp_path):
    pytest.importorskip("av")
    data = bytearray(flac(tmp_path, 3.0))
    # The length of a comment, for which libsndfile refuses the file, and a frame that ffmpeg passes over.
    data[46] = 0
    data[data.find(b"\xff\xf8", len(data) // 2)] = 0
    (tmp_path / "a.flac").write_bytes(bytes(data))
    info, notes = notes_of(tmp_path / "a.flac")
    assert info.seconds < 3.0
    assert notes == [f"the header says 3.000 s, but {info.seconds:.3f} s are there and are used"]


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_of_several_streams(tmp_path, subtype):
    path = tmp_path / "a.ogg"
    parts = []
    for number in (1, 2):
        soundfile.write(path, sound(float(number), 16000, seed=number), 16000, subtype=subtype)
        parts.append(path.read_bytes())
    alone = whole(path, audio_info(path))
    path.write_bytes(b"".join(parts))
    read, notes = check(path, 48000, 1e-3 if subtype == "OPUS" else 1e-6)
    np.testing.assert_allclose(read[16000:], alone, atol=1e-6)
    assert notes == ["the file has 2 streams one after the other; all are used"]
    path.write_bytes(parts[1][: len(parts[1]) * 2 // 3])
    info, notes = notes_of(path)
    assert 0 < info.frames < 32000
    assert notes == ["the stream has no end: the file may have been cut"]


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_pages_of_ogg_that_decoders_leave_out_are_said(tmp_path, subtype):
    path = tmp_path / "a.ogg"
    soundfile.write(path, sound(20.0, 16000), 16000, subtype=subtype)
    data = path.read_bytes()
    assert notes_of(path)[1] == []
    page = data.index(b"OggS", len(data) // 2)
    following = data.index(b"OggS", page + 4)
    flipped = bytes([data[page + 100] ^ 1])
    for damaged in (data[: page + 100] + flipped + data[page + 101 :], data[:page] + data[following:]):
        path.write_bytes(damaged)
        info, notes = notes_of(path)
        assert notes == ["damaged or missing pages in one place: what can be decoded is used"]
        assert len(whole(path, info)) == info.frames


def test_wav_headers_that_lie(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, sound(6.0, 16000), 16000)
    data = path.read_bytes()
    place = data.find(b"data") + 4

    def sized(size):
        return data[:place] + size.to_bytes(4, "little") + data[place + 4 :]

    cases = {
        "right": (data, 96000, None),
        "stopped recorder": (sized(0), 96000, None),
        "pipe": (sized(0xFFFFFFFF), 96000, None),
        "cut": (data[: place + 4 + 96000], 48000, "the header says 6.000 s, but 3.000 s are there and are used"),
        "small": (sized(9600), 4800, "182400 bytes after the audio data are in no chunk and are not used"),
        "joined": (data + data, 192000, "the file has 2 recordings one after the other; all are used"),
    }
    for name, (content, samples, note) in cases.items():
        path.write_bytes(content)
        _, notes = check(path, samples)
        assert notes == ([] if note is None else [note]), name


def test_wav_of_more_than_4_gib_has_a_size_that_wrapped(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(16000, np.float32), 16000)
    with path.open("r+b") as file:
        # A hole in the file, not 4 GiB.
        file.seek(44 + 32000 + (1 << 32) - 1)
        file.write(b"\0")
    info, notes = notes_of_header(path)
    assert info == 16000 + (1 << 31)
    assert notes == ["the header says 1.000 s, but 134218.728 s are there and are used"]


def notes_of_header(path):
    from audio_ssl.data.audio.decoding import way_of

    way = way_of(path)
    return way.frames, list(way.layout.notes)


@pytest.mark.parametrize(
    ("format", "subtype", "rate"), [("WAV", "GSM610", 8000), ("AIFF", "GSM610", 8000), ("WAV", "G721_32", 8000)]
)
def test_formats_that_cannot_be_sought_in_are_read(tmp_path, format, subtype, rate):
    path = tmp_path / f"a.{format.lower()}"
    soundfile.write(path, sound(4.0, rate), rate, format=format, subtype=subtype)
    check(path, audio_info(path).frames)


@pytest.mark.parametrize("format", ["AIFF", "AU", "CAF", "RF64", "W64", "NIST"])
def test_other_headers_with_a_size(tmp_path, format):
    path = tmp_path / "a.bin"
    soundfile.write(path, sound(6.0, 16000), 16000, format=format, subtype="PCM_16")
    _, notes = check(path, 96000)
    assert notes == []
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    info, notes = notes_of(path)
    assert 46000 < info.frames < 48000
    assert len(whole(path, info)) == info.frames
    assert len(notes) == 1
    assert notes[0].startswith("the header says 192")
    assert notes[0].endswith("are there and are used")
    place, values = {
        "AU": (8, (b"\0\0\0\0", b"\xff\xff\xff\xff")),
        "CAF": (data.find(b"data") + 4, (bytes(8), b"\xff" * 8)),
        "RF64": (28, (bytes(8), b"\xff" * 8)),
        "W64": (data.find(b"data") + 16, (bytes(8), b"\xff" * 8)),
        "AIFF": (data.find(b"SSND") + 4, (bytes(4), b"\xff" * 4)),
        "NIST": (0, ()),
    }[format]
    for value in values:
        path.write_bytes(data[:place] + value + data[place + len(value) :])
        _, notes = check(path, 96000)
        assert notes == []
