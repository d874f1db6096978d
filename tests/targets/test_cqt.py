import functools

import numpy as np
import pytest
import torch
from nnAudio.features.cqt import CQT1992v2

from audio_ssl.base.errors import UserError
from audio_ssl.targets.spec import check_targets
from audio_ssl.targets.teachers import cqt

CPU = torch.device("cpu")

TOLERANCE = 5e-6
"""Of the maximum; mostly float32's rounding, 3e-7, but loud tones beside the bins count too."""


def signal(rate, samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(samples, dtype=torch.float64) / rate
    tones = (torch.sin(2 * torch.pi * hertz * time) for hertz in (41.3, 440.0, 1234.5))
    return (0.05 * torch.randn(samples, generator=generator, dtype=torch.float64) + sum(tones)).float()


def exact(waveform, frames, rate, config):
    """Dense float64 magnitudes ``[frame, bin]``, each kernel applied around each frame as its definition says."""
    quality = config.filter_scale / (2 ** (1 / config.bins_per_octave) - 1)
    hertz = config.fmin_hz * 2 ** (np.arange(config.n_bins) / config.bins_per_octave)
    lengths = np.ceil(quality * rate / hertz).astype(int)
    edge = int(lengths.max())
    padded = np.pad(waveform.double().numpy(), edge)
    found = np.empty((len(frames), config.n_bins))
    for index, (frequency, length) in enumerate(zip(hertz, lengths, strict=True)):
        moment = np.arange(length) - length // 2 - length % 2
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
        kernel = window * np.exp(-2j * np.pi * frequency / rate * moment) / window.sum() * np.sqrt(length)
        places = edge + np.asarray(frames)[:, None] * config.hop_samples + moment
        found[:, index] = np.abs(padded[places] @ kernel)
    return found


def some(count):
    """Frames at both edges and in between."""
    return sorted({*range(min(count, 4)), *range(max(count - 4, 0), count), *range(0, count, 29)})


def error(ours, theirs):
    return float(np.abs(ours.numpy() - theirs).max() / theirs.max())


MERT = cqt.Config()

built = functools.cache(lambda config, rate: cqt.build(config, rate, CPU))


@pytest.mark.parametrize(
    ("rate", "config", "samples"),
    [
        (24000, MERT, 120_013),
        # Clips shorter than a kernel, down to one sample.
        *((24000, MERT, samples) for samples in (1, 319, 320, 5000, 48_000)),
        # Hops that are multiples of 8 (even and odd ones), of 4, of 2, odd, and of few samples.
        *((16000, cqt.Config(84, 12, hop_samples=hop), 32_007) for hop in (320, 200, 324, 322, 441)),
        *((16000, cqt.Config(84, 12, hop_samples=hop), 4001) for hop in (1, 2, 4, 8, 24, 40)),
        # No low bins; only bins that another rate would take as low; kernels of other lengths.
        (24000, cqt.Config(48, 48, fmin_hz=2000.0), 50_000),
        (24000, cqt.Config(24, 12), 50_000),
        (22050, cqt.Config(84, 12, hop_samples=512, filter_scale=0.5), 50_000),
        (16000, cqt.Config(60, 12, filter_scale=2.0), 50_000),
    ],
)
def test_magnitudes_are_those_of_a_dense_transform_in_float64(rate, config, samples):
    waveform = signal(rate, samples)
    ours = built(config, rate)(waveform)
    count = samples // config.hop_samples + 1
    assert ours.shape == (count, config.n_bins)
    assert ours.dtype == torch.float32
    frames = some(count)
    assert error(ours[frames], exact(waveform, frames, rate, config)) <= TOLERANCE


@pytest.mark.parametrize(
    ("rate", "hop", "bins", "octave", "seconds"), [(24000, 320, 336, 48, 2), (16000, 320, 84, 12, 12)]
)
def test_magnitudes_are_nnaudio_s(rate, hop, bins, octave, seconds):
    waveform = signal(rate, rate * seconds)
    ours = built(cqt.Config(bins, octave, hop_samples=hop), rate)(waveform)
    theirs = CQT1992v2(
        sr=rate, hop_length=hop, fmin=32.7, n_bins=bins, bins_per_octave=octave, pad_mode="constant", verbose=False
    )(waveform[None])[0].T
    assert ours.shape == theirs.shape
    assert error(ours, theirs.numpy()) <= 1e-5


def small(**options):
    return cqt.build(cqt.Config(84, 12, **options), 16000, CPU)


@pytest.mark.parametrize("samples", [1, 319, 320, 5000, 163_840, 200_001])
def test_any_length_has_the_frames_its_grid_says(samples):
    teacher = small()
    check_targets(teacher(torch.ones(samples)), teacher.spec, samples)


def test_no_audio_has_one_silent_frame():
    magnitudes = small()(torch.zeros(0))
    assert magnitudes.shape == (1, 84)
    assert not magnitudes.any()


def test_quiet_low_bins_beside_loud_high_ones():
    # What the low-pass lets through of 3 kHz must not show at 41 Hz.
    time = torch.arange(48_000, dtype=torch.float64) / 16000
    loud, quiet = torch.sin(2 * torch.pi * 3000 * time), 1e-4 * torch.sin(2 * torch.pi * 41.2 * time)
    both, alone = (small()(clip.float())[75, 4] for clip in (loud + quiet, quiet))
    assert abs(both / alone - 1) < 0.01


def test_blocks_do_not_show(monkeypatch):
    waveform = signal(16000, 16000 * 15)
    teacher = small()
    whole = teacher(waveform)
    monkeypatch.setattr(cqt, "_COLUMNS", 48)
    monkeypatch.setattr(cqt, "_LOW_COLUMNS", 100)
    monkeypatch.setattr(cqt, "GROUP_BLOCKS", 1)
    shorter = small()
    assert shorter._level.useful < teacher._level.useful
    assert shorter._low.useful < teacher._low.useful
    assert error(shorter(waveform), whole.numpy()) <= TOLERANCE


def peak_bytes(teacher, samples):
    with torch.profiler.profile(profile_memory=True) as profile:
        frames = len(teacher(torch.zeros(samples)))
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak, frames


def test_ten_minutes_need_the_memory_of_audio_and_magnitudes_alone():
    teacher = small()
    (short, few), (long, many) = (peak_bytes(teacher, 16000 * seconds) for seconds in (60, 600))
    audio, magnitudes = 4 * 16000 * 540, 4 * 84 * (many - few)
    # The clip, the clip with its edges, and its low-passed eighth.
    assert long - short <= 1.05 * magnitudes + 2.3 * audio
    assert long <= 120e6


def test_a_sine_peaks_in_its_bin():
    time = torch.arange(32000) / 16000
    magnitude = small()(torch.sin(2 * torch.pi * 440 * time))
    expected = round(12 * np.log2(440 / 32.7))
    assert int(magnitude[50].argmax()) == expected


def test_log_scale():
    waveform = signal(16000, 16000)
    torch.testing.assert_close(small(log=True)(waveform), torch.log1p(100 * small()(waveform)))


def test_autocast_does_not_change_magnitudes():
    waveform = signal(16000, 16000)
    with torch.autocast("cpu", torch.bfloat16):
        within = small()(waveform)
    assert torch.equal(within, small()(waveform))


def test_no_gradient_is_kept_and_the_clip_is_left_alone():
    waveform = signal(16000, 8000)
    before = waveform.clone()
    assert not small()(waveform.requires_grad_()).requires_grad
    assert torch.equal(waveform.detach(), before)


def test_bins_above_the_nyquist_frequency_are_refused():
    with pytest.raises(UserError, match=r"lies at .* above half of 8000 Hz"):
        cqt.build(cqt.Config(), 8000, CPU)


def test_fingerprint_tells_configurations_apart():
    prints = {
        cqt.build(cqt.Config(n_bins=n, bins_per_octave=12), r, CPU).fingerprint
        for n in (24, 36)
        for r in (16000, 24000)
    }
    assert len(prints) == 4
