import numpy as np
import pytest
import torch

from audio_ssl.models.spectra import mel_filters
from audio_ssl.targets.codec.reconstruction import MelDistance, MelMagnitudes, si_sdr


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def si_sdr_reference(output, target):
    output, target = output - output.mean(), target - target.mean()
    projected = (output @ target) / (target @ target) * target
    return 10 * np.log10((projected @ projected) / ((output - projected) @ (output - projected)))


def test_si_sdr_is_the_formula_clip_by_clip_with_any_padding():
    target, output = noise(3, 4000), noise(3, 4000, seed=1)
    output = 0.3 * target + 0.05 * output + 0.2
    lengths = [4000, 2500, 700]
    for row, length in enumerate(lengths):
        target[row, length:] = output[row, length:] = 0
    values = si_sdr(torch.tensor(output), torch.tensor(target), torch.tensor(lengths))
    expected = [
        si_sdr_reference(output[r, :n].astype(float), target[r, :n].astype(float)) for r, n in enumerate(lengths)
    ]
    np.testing.assert_allclose(values, expected, atol=1e-3)


def test_si_sdr_is_exact_and_blind_to_scale():
    target = torch.tensor(noise(1, 4000))
    target = target - target.mean()
    other = torch.tensor(noise(1, 4000, seed=1))
    other = other - other.mean()
    other = other - (other * target).sum() / target.square().sum() * target
    mixed = target + 0.1 * other * target.norm() / other.norm()
    assert float(si_sdr(3 * mixed, target)) == pytest.approx(20.0, abs=1e-3)


def test_si_sdr_is_bounded_for_silence_and_for_equal_signals():
    silent, sound = torch.zeros(1, 100), torch.tensor(noise(1, 100))
    assert si_sdr(sound, silent).tolist() == [-80.0]
    assert si_sdr(silent, sound).tolist()[0] <= 0.0
    assert float(si_sdr(sound, sound)) >= 60.0
    assert torch.isfinite(si_sdr(silent, silent)).all()


def mel_reference(waveform, rate, window, bands):
    hop = window // 4
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    padded = np.pad(waveform, window // 2)
    frames = np.stack([padded[i : i + window] for i in range(0, len(waveform) + 1, hop) if i + window <= len(padded)])
    magnitudes = np.abs(np.fft.rfft(frames * hann / hann.sum()))
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), bands + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(window, 1 / rate)
    filters = np.array([np.interp(bins, edges[i : i + 3], [0, 1, 0], left=0, right=0) for i in range(bands)])
    return filters @ magnitudes.T


def test_mel_spectrogram_is_the_formula():
    waveform = noise(1, 3000)
    mel = MelMagnitudes(16000, 512, 20)(torch.tensor(waveform))[0]
    np.testing.assert_allclose(mel, mel_reference(waveform[0].astype(float), 16000, 512, 20), atol=2e-5)


def test_mel_distance_is_the_formula_clip_by_clip_with_any_padding():
    target, output = 0.1 * noise(2, 16000), 0.1 * noise(2, 16000, seed=1)
    target[1, 9000:] = output[1, 9000:] = 0
    distance = MelDistance(16000)(torch.tensor(output), torch.tensor(target), torch.tensor([16000, 9000]))
    for row, length in enumerate((16000, 9000)):
        mels = [mel_reference(s[row, :length].astype(float), 16000, 1024, 80) for s in (output, target)]
        levels = [20 * np.log10(np.maximum(mel, 1e-5)) for mel in mels]
        # Frames centred at the clip's end or later do not count.
        frames = -(-length // 256)
        expected = np.abs(levels[0] - levels[1])[:, :frames].mean()
        assert float(distance[row]) == pytest.approx(expected, rel=1e-3)


def test_mel_distance_of_half_the_level_is_six_decibels():
    target = torch.tensor(noise(1, 16000))
    assert float(MelDistance(16000)(0.5 * target, target)) == pytest.approx(6.02, abs=0.02)
    assert float(MelDistance(16000)(target, target)) == 0.0


def test_mel_filters_cover_the_spectrum_once():
    filters = mel_filters(16000, 2048, 40)
    assert filters.shape == (40, 1025)
    inner = filters.sum(0)[20:900]
    torch.testing.assert_close(inner, torch.ones_like(inner), atol=1e-5, rtol=0)


def test_gradient_of_silence_is_finite():
    waveform = torch.zeros(1, 2000, requires_grad=True)
    MelMagnitudes(16000, 512, 20)(waveform).sum().backward()
    assert torch.isfinite(waveform.grad).all()
