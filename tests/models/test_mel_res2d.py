"""Sizes, padding and refusals; the values are MuQ's by tests/parity/test_muq.py."""

from dataclasses import replace

import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.models.frontends import mel_res2d
from audio_ssl.models.spectra import DecibelMel

SMALL = mel_res2d.Config(n_mels=20, window_seconds=0.025, channels=6, dim=12)


def noise(samples, clips=1):
    return torch.randn(clips, samples, generator=torch.Generator().manual_seed(samples))


def make(**options):
    torch.manual_seed(0)
    return mel_res2d.build(replace(SMALL, **options), 16000)


@pytest.mark.parametrize("samples", [1, 200, 639, 640, 1279, 1280, 8000])
def test_any_length_has_the_frames_its_grid_says(samples):
    frontend = make().eval()
    features, frames = frontend(noise(samples), torch.tensor([samples]))
    assert frames.tolist() == [samples // 640] == [frontend.grid.num_frames(samples)]
    assert features.shape == (1, samples // 640, 12)
    assert torch.isfinite(features).all()


def test_decibels_are_torchaudios():
    transforms = pytest.importorskip("torchaudio.transforms")
    mel = transforms.MelSpectrogram(24000, n_fft=2048, hop_length=240, n_mels=128)
    expected = transforms.AmplitudeToDB()(mel(noise(24000) * 0.1))[..., :-1].transpose(1, 2)
    ours = DecibelMel(24000, 2048, 240, 128, 4, 6.5, 18.0)
    found = ours(noise(24000) * 0.1, torch.tensor([24000]))
    torch.testing.assert_close(found * 18.0 + 6.5, expected, rtol=0, atol=1e-3)
    # What is past the last whole frame is not heard, in a batch as alone.
    wide = torch.full((2, 30000), 1e9)
    wide[:, :24000] = noise(24000) * 0.1
    wide[1, 23000:] = 1e9
    both = ours(wide, torch.tensor([24900, 22999]))
    torch.testing.assert_close(both[0, :100], found[0], rtol=0, atol=1e-5)
    alone = ours(wide[1:, :22080], torch.tensor([22080]))
    torch.testing.assert_close(both[1, :92], alone[0], rtol=0, atol=1e-5)


def test_silence_and_digital_noise_stay_finite():
    found = DecibelMel(24000, 2048, 240, 128, 4, 0.0, 1.0)(torch.zeros(1, 9600), torch.tensor([9600]))
    assert torch.equal(found, torch.full_like(found, -100.0))


def test_in_training_padding_has_no_influence():
    lengths = torch.tensor([9600, 6400])
    clean, dirty = make().train(), make().train()
    one = noise(9600, 2)
    other = one.clone()
    other[1, 6400:] = 1e6
    one[1, 6400:] = 0
    torch.testing.assert_close(clean(one, lengths)[0], dirty(other, lengths)[0], rtol=1e-5, atol=1e-5)
    for name, value in clean.named_buffers():
        torch.testing.assert_close(dict(dirty.named_buffers())[name], value, rtol=1e-5, atol=1e-5)


def test_a_frame_sees_no_further_than_its_grid_says():
    frontend = make().eval()
    waveform = noise(32000).requires_grad_()
    frames, _ = frontend(waveform, torch.tensor([32000]))
    frames[0, 25].sum().backward()
    places = waveform.grad[0].nonzero()[:, 0]
    half = frontend.grid.window_samples // 2
    assert places.min() >= 25 * 640 - half
    assert places.max() <= 25 * 640 + half
    assert places.max() - places.min() > 0.9 * 2 * half


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_mels": 22}, "`n_mels` must be a multiple of 4"),
        ({"channels": 0}, "`channels` must be at least 1"),
        ({"std": 0.0}, "`std` must be above 0"),
        ({"hop_seconds": 0.0}, "`hop_seconds` must last at least a sample"),
    ],
)
def test_sizes_that_cannot_be_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        make(**options)
