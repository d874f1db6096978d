"""Audio in blocks: the same samples as audio at once."""

import numpy as np
import pytest
import soundfile

from audio_ssl.base.errors import AudioError
from audio_ssl.data.audio import audio_info, read_blocks, read_clip
from audio_ssl.data.manifest import Clip


def clip_of(path, start=0.0, seconds=None):
    info = audio_info(path)
    return Clip(path.name, str(path), start, info.seconds if seconds is None else seconds, info.sample_rate)


@pytest.mark.parametrize("rate", [16000, 44100, 8000])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_blocks_are_the_whole(tmp_path, rate, suffix):
    samples = np.random.default_rng(0).normal(0, 0.1, (int(7.3 * rate), 2)).astype(np.float32)
    soundfile.write(tmp_path / f"a{suffix}", samples, rate)
    for start, seconds in ((0.0, None), (1.1, 3.7)):
        clip = clip_of(tmp_path / f"a{suffix}", start, seconds)
        whole, blocks = read_clip(clip, 16000), list(read_blocks(clip, 16000, block_seconds=0.9))
        assert len(blocks) > 3
        np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-5)


@pytest.mark.parametrize(("suffix", "codec"), [(".m4a", "aac"), (".g722", "g722")])
def test_blocks_of_formats_that_pyav_reads(tmp_path, suffix, codec):
    av = pytest.importorskip("av")
    path = tmp_path / f"a{suffix}"
    samples = np.random.default_rng(0).normal(0, 0.1, 48000).astype(np.float32)
    with av.open(str(path), "w", format="g722" if suffix == ".g722" else None) as container:
        stream = container.add_stream(codec, rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples[None] * 32767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate = 16000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    clip = clip_of(path, 0.5, 2.0)
    whole, blocks = read_clip(clip, 24000), list(read_blocks(clip, 24000, block_seconds=0.4))
    assert len(blocks) > 3
    assert len(whole) == 48000
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-5)


def test_what_is_wrong_with_the_end_is_found_there(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16000, np.float32), 16000)
    given = []
    with pytest.raises(AudioError, match=r"truncated: 1.000 s could be decoded of the 2.000 s"):
        for block in read_blocks(clip_of(tmp_path / "a.wav", 0.0, 2.0), 16000, 0.4):
            given.append(len(block))
    assert sum(given) == 16000
