import numpy as np
import pytest
import torch
from nnAudio.features.cqt import CQT1992v2

from audio_ssl.data.targets import check_targets
from audio_ssl.errors import UserError
from audio_ssl.teachers import cqt

TOLERANCE = 1.5e-4  # of the maximum


def signal(rate, seconds, seed=0):
    noise = torch.randn(int(rate * seconds), generator=torch.Generator().manual_seed(seed)) * 0.05
    time = torch.arange(len(noise)) / rate
    return noise + torch.sin(2 * torch.pi * 440 * time) + 0.3 * torch.sin(2 * torch.pi * 1234.5 * time)


@pytest.mark.parametrize(
    ("rate", "hop", "bins", "octave", "seconds"),
    [(24000, 320, 336, 48, 2.0), (16000, 320, 84, 12, 4.3), (16000, 320, 84, 12, 12.0), (22050, 512, 84, 12, 1.0)],
)
def test_magnitudes_equal_nnaudio(rate, hop, bins, octave, seconds):
    waveform = signal(rate, seconds)
    config = cqt.Config(n_bins=bins, bins_per_octave=octave, hop_samples=hop)
    ours = cqt.build(config, rate, torch.device("cpu"))(waveform)
    theirs = CQT1992v2(
        sr=rate, hop_length=hop, fmin=32.7, n_bins=bins, bins_per_octave=octave, pad_mode="constant", verbose=False
    )(waveform[None])[0].T
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max()


def small():
    return cqt.build(cqt.Config(n_bins=48, bins_per_octave=12), 16000, torch.device("cpu"))


@pytest.mark.parametrize("samples", [1, 319, 320, 5000, 163840, 200_001])
def test_any_length_has_the_frames_its_grid_says(samples):
    teacher = small()
    check_targets(teacher(torch.ones(samples)), teacher.spec, samples)


def test_blocks_do_not_show(monkeypatch):
    waveform = signal(16000, 15.0)
    whole = small()(waveform)
    monkeypatch.setattr(cqt, "_BLOCK_FRAMES", 100)
    assert (small()(waveform) - whole).abs().max() <= 2 * TOLERANCE * whole.max()


def test_a_sine_peaks_in_its_bin():
    time = torch.arange(32000) / 16000
    magnitude = small()(torch.sin(2 * torch.pi * 440 * time))
    expected = round(12 * np.log2(440 / 32.7))
    assert int(magnitude[50].argmax()) == expected


def test_log_scale():
    waveform = signal(16000, 1.0)
    logged = cqt.build(cqt.Config(n_bins=48, bins_per_octave=12, log=True), 16000, torch.device("cpu"))(waveform)
    torch.testing.assert_close(logged, torch.log1p(100 * small()(waveform)))


def test_bins_above_the_nyquist_frequency_are_refused():
    with pytest.raises(UserError, match=r"lies at .* above half of 8000 Hz"):
        cqt.build(cqt.Config(), 8000, torch.device("cpu"))


def test_fingerprint_tells_configurations_apart():
    device = torch.device("cpu")
    prints = {
        cqt.build(cqt.Config(n_bins=n, bins_per_octave=12), r, device).fingerprint
        for n in (24, 36)
        for r in (16000, 24000)
    }
    assert len(prints) == 4
