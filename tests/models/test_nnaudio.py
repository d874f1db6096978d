"""nnAudio's transforms as a frontend: its values, the neighbouring parts' values, and kernels that learn."""

import sys

import pytest
import torch
from nnAudio.features.cqt import CQT1992v2
from nnAudio.features.mel import MelSpectrogram
from nnAudio.features.stft import STFT

from audio_ssl.base import catalog
from audio_ssl.base.errors import UserError
from audio_ssl.models.frontends import concat, cqt, nnaudio
from audio_ssl.models.spectra import MelSpectrogram as OurMel

RATE, HOP = 16000, 320
SIZES = {
    "cqt": {"n_bins": 36, "bins_per_octave": 12, "fmin_hz": 130.8},
    "mel": {"n_bins": 40, "window_samples": 512},
    "stft": {"window_samples": 256},
}
KINDS = pytest.mark.parametrize("kind", SIZES)


def make(kind, **options):
    return nnaudio.build(nnaudio.Config(transform=kind, **SIZES[kind], **options), RATE)


def theirs(kind, trainable=False):
    shared = {"sr": RATE, "hop_length": HOP, "pad_mode": "constant", "verbose": False}
    if kind == "cqt":
        return CQT1992v2(fmin=130.8, n_bins=36, bins_per_octave=12, trainable=trainable, **shared)
    if kind == "mel":
        learnt = {"trainable_mel": trainable, "trainable_STFT": trainable}
        return MelSpectrogram(n_fft=512, n_mels=40, htk=True, norm=None, **learnt, **shared)
    return STFT(n_fft=256, output_format="Magnitude", trainable=trainable, **shared)


def tones(samples=16000):
    time = torch.arange(samples) / RATE
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(0)) * 0.05
    return (noise + torch.sin(2 * torch.pi * 440 * time) + 0.3 * torch.sin(2 * torch.pi * 1234.5 * time))[None]


@KINDS
@pytest.mark.parametrize("trainable", [False, True])
def test_values_equal_nnaudio(kind, trainable):
    with torch.no_grad():
        expected = theirs(kind)(tones()).transpose(1, 2)
        found = make(kind, trainable=trainable).values(tones())
        near = theirs(kind, trainable=True)(tones()).transpose(1, 2)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-6 * expected.max()
    # Where nnAudio trains its kernels, 1e-8 is added to the power.
    assert (found - near).abs().max() <= 1e-4 * max(1.0, expected.max())


def test_constant_q_bins_are_those_of_the_part_cqt():
    part, lengths = cqt.build(cqt.Config(36, 12, 130.8, normalize=False), RATE), torch.tensor([16000])
    ours, found = part.magnitudes(tones()), make("cqt").values(tones())
    assert (found - ours).abs().max() <= 2e-4 * ours.max()
    levels = make("cqt", normalize=False)(tones(), lengths)[0]
    assert (levels - part(tones(), lengths)[0]).abs().mean() < 5e-3


def test_mel_bands_are_those_of_our_spectrogram():
    ours = OurMel(RATE, 512, HOP, 40, center=True).log(tones())
    found, _ = make("mel", normalize=False)(tones(), torch.tensor([16000]))
    torch.testing.assert_close(found, ours, atol=2e-3, rtol=1e-4)


@KINDS
def test_values_are_normalised_as_asked(kind):
    noise, lengths = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0)), torch.tensor([16000])
    raw = make(kind).values(noise)
    plain, frames = make(kind, log=False, normalize=False)(noise, lengths)
    assert frames.tolist() == [51]
    torch.testing.assert_close(plain, raw)
    fixed, _ = make(kind, log=False, normalize=False, mean=-1.0, std=2.0)(noise, lengths)
    torch.testing.assert_close(fixed, (raw + 1) / 2)
    own, _ = make(kind)(noise, lengths)
    assert own.mean(1).abs().max() < 1e-4
    assert (own.std(1, correction=0) - 1).abs().max() < 1e-2


@KINDS
@pytest.mark.parametrize("samples", [1, 319, 320, 5000])
def test_any_length_has_the_frames_its_grid_says(kind, samples):
    frontend = make(kind)
    features, frames = frontend(torch.ones(1, samples), torch.tensor([samples]))
    assert features.shape == (1, frontend.grid.num_frames(samples), frontend.dim)
    assert frames.tolist() == [features.shape[1]]


@KINDS
def test_what_lies_past_a_clip_is_not_seen(kind):
    frontend = make(kind)
    # The last frame's window reaches past the end of the shorter clip.
    waveform, lengths = tones(9000).repeat(2, 1), torch.tensor([9000, 4900])
    before, frames = frontend(waveform, lengths)
    waveform[1, 4900:] = 1e30
    after, _ = frontend(waveform, lengths)
    assert torch.equal(before, after)
    assert not after[1, int(frames[1]) :].any()


@KINDS
def test_kernels_learn_and_stay_near_the_transform(kind):
    frontend = make(kind, normalize=False)
    before = frontend.values(tones()).detach()
    optimizer = torch.optim.AdamW(frontend.parameters(), lr=5e-4)
    # A target that draws every kernel in one direction.
    frontend(tones(), torch.tensor([16000]))[0].sum().backward()
    for name, parameter in frontend.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name
    optimizer.step()
    moved = (frontend.values(tones()) - before).abs()
    assert moved.max() > 1e-3 * before.max()
    assert moved.mean() < 0.05 * before.mean()
    if kind == "cqt":
        outside = frontend.get_buffer("_scale") == 0
        assert outside.sum(-1)[0] < outside.sum(-1)[-1]
        assert not frontend.kernels["real"][outside].any()
        assert not frontend.kernels["imag"][outside].any()


@KINDS
@pytest.mark.parametrize("trainable", [False, True])
def test_gradients_in_silence_are_finite(kind, trainable):
    frontend, waveform = make(kind, trainable=trainable), torch.zeros(1, 4000, requires_grad=True)
    frontend(waveform, torch.tensor([4000]))[0].square().sum().backward()
    assert torch.isfinite(waveform.grad).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in frontend.parameters())


def test_bands_with_negative_weights_have_a_logarithm():
    frontend = make("mel")
    with torch.no_grad():
        frontend.kernels["bands"].neg_()
        assert torch.isfinite(frontend(tones(), torch.tensor([16000]))[0]).all()


def test_it_stands_beside_another_frontend():
    parts = (cqt.Config(12, 12, 900.0), nnaudio.Config(transform="stft", window_samples=64))
    frontend, lengths = concat.build(concat.Config(parts), RATE), torch.tensor([5000, 3000])
    features, frames = frontend(tones(5000).repeat(2, 1), lengths)
    assert features.shape == (2, frontend.grid.num_frames(5000), 12 + 33)
    assert not features[1, int(frames[1]) :].any()
    features.square().sum().backward()
    assert all(parameter.grad.any() for parameter in frontend.parameters())


@KINDS
def test_only_kernels_that_learn_are_saved(kind):
    assert not make(kind, trainable=False).state_dict()
    names = {"kernels.real", "kernels.imag"} | ({"kernels.bands"} if kind == "mel" else set())
    assert make(kind).state_dict().keys() == names == {name for name, _ in make(kind).named_parameters()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transform": "wavelet"}, "`transform` must be cqt, mel or stft"),
        ({"n_bins": 240}, r"lies at .* above half of 16000 Hz"),
        ({"fmin_hz": 0.0}, "`fmin_hz` must be above 0, but is 0"),
        ({"hop_samples": 0}, "`hop_samples` must be at least 1, but is 0"),
        ({"transform": "stft", "window_samples": 255}, "`window_samples` must be an even number above 0, but is 255"),
        ({"transform": "mel", "window_samples": 256}, "of `n_bins` 84 mel bands are empty with `window_samples` 256"),
        ({"mean": 0.0, "std": 1.0}, "`normalize` must be false"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        nnaudio.build(nnaudio.Config(**options), RATE)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "audio_ssl.models.frontends.nnaudio")
    for name in [name for name in sys.modules if name.partition(".")[0] == "nnAudio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nnAudio", None)
    with pytest.raises(
        UserError, match=r"frontend `nnaudio` needs the package nnAudio \(pip install 'audio-ssl\[teachers\]'\)"
    ):
        catalog.load_part("frontends", "nnaudio")
