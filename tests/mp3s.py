"""MP3 files with headers that lie, made of what libsndfile writes."""

import io

import numpy as np
import soundfile

TAG = b"ID3\x03\0\0\0\0\x01\x00" + bytes(128)
"""An ID3v2 tag of 138 bytes."""
DELAY = 1105
"""Samples that LAME's header takes away at the beginning: the encoder's 576 and the decoder's 529."""


def sound(seconds, rate, channels=1, seed=0):
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.02, len(time))
    mono = 0.3 * np.sin(2 * np.pi * (200 + 50 * time) * time) + noise
    return np.repeat(mono[:, None], channels, 1).astype(np.float32)


def mp3(seconds=6.0, rate=16000, channels=1, seed=0, level=None):
    """Return a file with variable bit rate and a Xing header with LAME's part."""
    buffer = io.BytesIO()
    options = {} if level is None else {"bitrate_mode": "VARIABLE", "compression_level": level}
    soundfile.write(buffer, sound(seconds, rate, channels, seed), rate, format="MP3", **options)
    return buffer.getvalue()


def xing(data):
    """Return where the Xing header's mark is."""
    place = data.find(b"Xing", 0, 64)
    assert place > 0
    return place


def count(data):
    """Return the number of frames that the header says."""
    return int.from_bytes(data[xing(data) + 8 : xing(data) + 12], "big")


def with_count(data, frames):
    place = xing(data) + 8
    return data[:place] + frames.to_bytes(4, "big") + data[place + 4 :]


def without_header(data):
    """Return the frames alone: the first one, which has the header, is gone."""
    sync = data[:2]
    kilobits = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    if data[1] & 8:
        kilobits = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    rates = {True: (44100, 48000, 32000), False: (22050, 24000, 16000)}[bool(data[1] & 8)]
    size = (144 if data[1] & 8 else 72) * kilobits[(data[2] >> 4) - 1] * 1000 // rates[data[2] >> 2 & 3]
    size += data[2] >> 1 & 1
    assert data[size : size + 2] == sync
    return data[size:]
