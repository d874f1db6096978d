import numpy as np
import pytest
import torch
from nnAudio.features.cqt import CQT1992v2
from scipy.fft import next_fast_len

from audio_ssl.base.errors import UserError
from audio_ssl.models.frontends import cqt


def signal(rate, seconds):
    noise = torch.randn(int(rate * seconds), generator=torch.Generator().manual_seed(0)) * 0.05
    time = torch.arange(len(noise)) / rate
    return noise + torch.sin(2 * torch.pi * 440 * time) + 0.3 * torch.sin(2 * torch.pi * 1234.5 * time)


@pytest.mark.parametrize(
    ("rate", "hop", "bins", "octave", "seconds"),
    [(24000, 320, 84, 12, 2.0), (16000, 321, 84, 12, 12.3), (22050, 512, 168, 24, 1.0)],
)
def test_magnitudes_equal_nnaudio(rate, hop, bins, octave, seconds):
    waveform = signal(rate, seconds)[None]
    ours = cqt.build(cqt.Config(bins, octave, hop_samples=hop), rate).magnitudes(waveform)[0]
    theirs = CQT1992v2(
        sr=rate, hop_length=hop, fmin=32.7, n_bins=bins, bins_per_octave=octave, pad_mode="constant", verbose=False
    )(waveform)[0].T
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 2e-4 * theirs.abs().max()


def test_a_full_scale_sine_peaks_in_its_bin():
    frontend = cqt.build(cqt.Config(84, 12), 16000)
    magnitude = frontend.magnitudes(torch.sin(2 * torch.pi * 440 * torch.arange(32000) / 16000)[None])[0, 50]
    assert int(magnitude.argmax()) == round(12 * np.log2(440 / 32.7))
    assert magnitude.max() > 10


def test_values_are_log_magnitudes_normalised_as_asked():
    waveform, lengths = signal(16000, 1.0)[None], torch.tensor([16000])
    plain, frames = cqt.build(cqt.Config(24, 12, normalize=False), 16000)(waveform, lengths)
    assert frames.tolist() == [51]
    magnitudes = cqt.build(cqt.Config(24, 12), 16000).magnitudes(waveform)
    torch.testing.assert_close(plain, torch.log(magnitudes + 1e-3))
    fixed, _ = cqt.build(cqt.Config(24, 12, normalize=False, mean=-1.0, std=2.0), 16000)(waveform, lengths)
    torch.testing.assert_close(fixed, (plain + 1) / 2)
    own, _ = cqt.build(cqt.Config(24, 12), 16000)(waveform, lengths)
    assert own.mean(1).abs().max() < 1e-4
    assert (own.std(1, correction=0) - 1).abs().max() < 1e-2


def test_blocks_do_not_show(monkeypatch):
    waveform = signal(16000, 7.0)[None]
    config = cqt.Config(36, 12)
    whole = cqt.build(config, 16000).magnitudes(waveform)
    monkeypatch.setattr(cqt, "BLOCK_FRAMES", 50)
    assert (cqt.build(config, 16000).magnitudes(waveform) - whole).abs().max() <= 2e-4 * whole.max()


@pytest.mark.parametrize("samples", [1, 319, 320, 5000, 81_920, 90_000])
def test_any_length_has_the_frames_its_grid_says(samples):
    frontend = cqt.build(cqt.Config(24, 12), 16000)
    features, frames = frontend(torch.ones(1, samples), torch.tensor([samples]))
    assert features.shape == (1, frontend.grid.num_frames(samples), 24)
    assert frames.tolist() == [features.shape[1]]


def test_what_lies_past_a_clip_is_not_seen():
    frontend = cqt.build(cqt.Config(24, 12), 16000)
    waveform, lengths = torch.randn(2, 9000, generator=torch.Generator().manual_seed(0)), torch.tensor([9000, 5000])
    before, frames = frontend(waveform, lengths)
    waveform[1, 5000:] = 1e30
    after, _ = frontend(waveform, lengths)
    assert torch.equal(before, after)
    assert not after[1, int(frames[1]) :].any()


def test_kernels_are_not_saved():
    assert not cqt.build(cqt.Config(24, 12), 16000).state_dict()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_bins": 240}, r"lies at .* above half of 16000 Hz"),
        ({"hop_samples": 0}, "`hop_samples` must be at least 1, but is 0"),
        ({"fmin_hz": 0.0}, "`fmin_hz` must be above 0, but is 0"),
        ({"mean": 0.0, "std": 1.0}, "`normalize` must be false"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        cqt.build(cqt.Config(**options), 16000)


def test_block_lengths_are_those_that_scipy_gives():
    assert [cqt.fast_length(least) for least in range(1, 2000)] == [next_fast_len(least) for least in range(1, 2000)]
