"""librosa's features as a baseline: librosa's values, alone as in a batch, in a part as in the whole, by name."""

import sys

import librosa
import numpy as np
import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.commands.explain import listing_lines
from audio_ssl.features.baselines import baselines
from audio_ssl.features.source import open_source
from audio_ssl.probing.probe import load_probe

RATE, HOP = 16000, 320
COLUMNS = {"mfcc": (0, 20), "chroma": (20, 32), "contrast": (32, 39), "tonnetz": (39, 45), "tempogram": (45, 237)}


def music(seconds):
    """Return chords that change twice a second in noise, so loud that all levels are well above the floors."""
    samples, rng = int(seconds * RATE), np.random.default_rng(0)
    time = np.arange(samples) / RATE
    root = 220 * 2 ** (rng.integers(0, 12, int(2 * seconds) + 1)[(2 * time).astype(int)] / 12)
    phases = 2 * np.pi * np.cumsum(root) / RATE
    chord = sum(np.sin(phases * 2 ** (step / 12)) for step in (0, 4, 7))
    return torch.from_numpy((1.2 * chord + rng.normal(0, 1.2, samples)).astype(np.float32))


def frames_of(name, waveform):
    layers, counts = open_source(name)(waveform[None], torch.tensor([len(waveform)]))
    assert len(layers) == 1
    assert counts.tolist() == [layers[0].shape[1]] == [len(waveform) // HOP + 1]
    return layers[0][0]


@pytest.fixture(scope="module")
def whole():
    return frames_of("librosa", music(8))


def test_values_are_librosas(whole):
    feature, given = librosa.feature, {"y": music(8).numpy(), "sr": RATE, "hop_length": HOP}
    theirs = {
        "mfcc": feature.mfcc(**given),
        "chroma": feature.chroma_cqt(**given, tuning=0.0),
        "contrast": feature.spectral_contrast(**given),
        "tonnetz": feature.tonnetz(**given, tuning=0.0),
        "tempogram": feature.tempogram(**given, win_length=192),
    }
    for name, (first, last) in COLUMNS.items():
        np.testing.assert_allclose(whole[:, first:last].numpy(), theirs[name].T, atol=2e-3, rtol=1e-4, err_msg=name)


def test_a_clip_in_a_padded_batch_is_as_alone():
    source, clips = open_source("librosa"), [music(0.4), music(2.5), music(0.001)]
    batch = torch.full((3, 45_000), 9.0)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    (together,), counts = source(batch, torch.tensor([len(clip) for clip in clips]))
    assert together.shape == (3, 126, source.dim)
    for row, count, clip in zip(together, counts.tolist(), clips, strict=True):
        assert torch.equal(row[:count], frames_of("librosa", clip))
        assert not row[count:].any()


def test_a_part_has_the_frames_of_the_whole(whole):
    """Two seconds of context, as extraction gives, are what a frame looks at."""
    part = frames_of("librosa", music(8)[100 * HOP :])
    torch.testing.assert_close(part[100:], whole[200:], atol=5e-3, rtol=1e-3)


def test_silence_has_no_pitch_no_contrast_and_no_tempo():
    frames = frames_of("librosa", torch.zeros(9000))
    assert torch.isfinite(frames).all()
    assert not frames[:, 20:].any()


def test_features_are_asked_for_by_name(whole):
    some = open_source("librosa:tonnetz+mfcc")
    assert (some.name, some.dim, some.grid.frame_rate_hz) == ("librosa:tonnetz+mfcc", 26, 50.0)
    expected = torch.cat([whole[:, 39:45], whole[:, :20]], 1)
    torch.testing.assert_close(frames_of("librosa:tonnetz+mfcc", music(8)), expected)
    sources = [some, open_source("librosa"), open_source("librosa:mfcc+tonnetz")]
    assert len({source.fingerprint for source in sources}) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "librosa:mfc",
            "unknown feature of the baseline librosa `mfc`; known: chroma, contrast, mfcc, temp.*mean `mfcc`",
        ),
        ("librosa:", "unknown feature of the baseline librosa ``"),
        ("librosa:mfcc+mfcc", r"`librosa:mfcc\+mfcc` must name each feature once"),
        ("logmel:mfcc", "the baseline `logmel` has no features to choose from"),
    ],
)
def test_other_names_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        open_source(name)
    with pytest.raises(UserError, match=rf"\$\.baselines\[1\]: {message}"):
        load_probe("demo_key", [f"baselines=[untrained, '{name}']"])


def test_a_probe_names_the_baselines():
    _, probe = load_probe("demo_key", ["baselines=[untrained, cqt, librosa, librosa:mfcc+chroma]"])
    assert probe.baselines == ("untrained", "cqt", "librosa", "librosa:mfcc+chroma")
    assert {open_source(name).name for name in baselines()} == {"cqt", "librosa", "logmel"}


def test_the_listing_has_the_baselines():
    listed = list(listing_lines("parts"))
    first, last = (listed.index(f"features/{folder}") for folder in ("baselines", "encoder_files"))
    assert [line.split()[0] for line in listed[first + 1 : last]] == baselines()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "librosa", None)
    with pytest.raises(UserError, match=r"baseline `librosa` needs the package librosa \(pip install 'audio-ssl\[prob"):
        open_source("librosa")
