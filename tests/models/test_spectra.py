"""Spectra equal torchaudio's, batched equal single, and do without torchaudio."""

import logging
import subprocess
import sys

import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.models import spectra
from audio_ssl.models.frontends import mel
from audio_ssl.models.spectra import MelSpectrogram, cepstra, deltas, mel_filters
from audio_ssl.targets.acoustic import CenteredLogMel, Mfcc39, StackedLogMel


def noise(*shape, dtype=torch.float32):
    waveform = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)
    return waveform * torch.linspace(0.001, 1.0, shape[-1], dtype=dtype)


SIZES = [(16000, 400, 160, 80), (16000, 401, 163, 23), (11025, 256, 100, 20), (24000, 2048, 240, 229), (8000, 6, 1, 1)]


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rate", "window", "hop", "bands"), SIZES)
def test_mel_spectrograms_are_those_of_torchaudio(rate, window, hop, bands, dtype, center):
    transforms = pytest.importorskip("torchaudio.transforms")
    theirs = transforms.MelSpectrogram(
        rate, n_fft=window, hop_length=hop, n_mels=bands, center=center, pad_mode="constant"
    ).to(dtype)
    ours = MelSpectrogram(rate, window, hop, bands, center)
    for waveform in (noise(5001, dtype=dtype), noise(3, 4097, dtype=dtype), noise(2, 1, 3000, dtype=dtype)):
        expected = theirs(waveform).transpose(-1, -2)
        assert ours(waveform).dtype == dtype
        torch.testing.assert_close(ours(waveform), expected, rtol=1e-5, atol=1e-5)
        # The slope of the logarithm is up to a million where there is nearly nothing: absolute in what is heard.
        torch.testing.assert_close(ours.log(waveform), torch.log(expected + 1e-6), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("rate", "window", "hop", "bands"), SIZES)
def test_filters_are_those_of_torchaudio_bit_for_bit(rate, window, hop, bands):
    functional = pytest.importorskip("torchaudio.functional")
    theirs = functional.melscale_fbanks(window // 2 + 1, 0.0, float(rate // 2), bands, rate)
    assert torch.equal(mel_filters(rate, window, bands), theirs.T)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("window", "hop", "samples"), [(400, 320, 400), (401, 163, 1000), (400, 160, 16001)])
def test_mfccs_with_differences_are_those_of_torchaudio(window, hop, samples, dtype):
    torchaudio = pytest.importorskip("torchaudio")
    sizes = {"n_fft": window, "hop_length": hop, "n_mels": 23, "center": False}
    theirs = torchaudio.transforms.MFCC(16000, n_mfcc=13, melkwargs=sizes, log_mels=True).to(dtype)
    waveform = noise(2, samples, dtype=dtype)
    coefficients = theirs(waveform)
    first = torchaudio.functional.compute_deltas(coefficients)
    second = torchaudio.functional.compute_deltas(first)
    ours = cepstra(MelSpectrogram(16000, window, hop, 23).log(waveform), 13)
    expected = torch.cat([coefficients, first, second], dim=1).transpose(1, 2)
    found = torch.cat([ours, deltas(ours), deltas(deltas(ours))], dim=2)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    if dtype == torch.float32:
        torch.testing.assert_close(Mfcc39(16000, hop, window)(waveform[1]), expected[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("center", [False, True])
def test_a_clip_in_a_batch_is_what_it_is_alone(center):
    ours, waveforms = MelSpectrogram(16000, 400, 160, 40, center), noise(4, 6007)
    for row, waveform in zip(ours.log(waveforms), waveforms, strict=True):
        torch.testing.assert_close(row, ours.log(waveform), rtol=1e-6, atol=1e-6)


def test_gradients_pass_and_nothing_is_saved():
    waveform = noise(1000).requires_grad_()
    ours = MelSpectrogram(16000, 400, 160, 40)
    ours.log(waveform).sum().backward()
    assert waveform.grad.isfinite().all()
    assert waveform.grad.abs().sum() > 0
    assert not ours.state_dict()


@pytest.mark.parametrize(("window", "fft"), [(400, 1024), (401, 512), (401, 513), (400, 513), (400, 400)])
@pytest.mark.parametrize("center", [False, True])
def test_a_longer_transform_has_the_same_windows_and_more_lines(window, fft, center):
    ours, waveform = MelSpectrogram(16000, window, 160, 40, center, fft_samples=fft), noise(5001)
    around = torch.nn.functional.pad(waveform, (window // 2, window // 2)) if center else waveform
    windows = around.unfold(0, window, 160) * torch.hann_window(window)
    expected = torch.fft.rfft(windows, fft).abs().square() @ mel_filters(16000, fft, 40).T
    found = ours(waveform)
    torch.testing.assert_close(found[: len(expected)], expected, rtol=1e-4, atol=1e-5)
    assert len(found) == len(MelSpectrogram(16000, window, 160, 40, center)(waveform))


def test_a_longer_transform_leaves_no_band_empty(caplog):
    with caplog.at_level(logging.WARNING):
        mel.build(mel.Config(n_mels=128, fft_samples=1024), 16000)
        StackedLogMel(16000, 160, 400, 128, 4, fft_samples=1024)
    assert not caplog.records
    plain, _ = mel.build(mel.Config(n_mels=128, stack=1, normalize=False), 16000)(noise(1, 4000), torch.tensor([4000]))
    frontend = mel.build(mel.Config(n_mels=128, stack=1, normalize=False, fft_samples=1024), 16000)
    longer, _ = frontend(noise(1, 4000), torch.tensor([4000]))
    assert longer.shape == plain.shape
    assert int((plain[0] == plain[0, 0]).all(0).sum()) == 4
    assert int((longer[0] == longer[0, 0]).all(0).sum()) == 0


def test_a_transform_shorter_than_the_window_is_refused():
    with pytest.raises(UserError, match="`fft_samples` must be at least the 400 samples of the window, but is 256"):
        mel.build(mel.Config(fft_samples=256), 16000)


def test_bands_without_a_spectral_line_are_said_by_one_warning(caplog):
    spectra._warn_of_empty_bands.cache_clear()
    with caplog.at_level(logging.WARNING):
        mel.build(mel.Config(), 16000)
        CenteredLogMel(16000, 320, 2048, 229)
        assert not caplog.records
        mel.build(mel.Config(n_mels=128), 16000)
        mel.build(mel.Config(n_mels=128), 16000)
    assert [record.getMessage() for record in caplog.records] == [
        "4 of 128 mel bands are empty with a Fourier transform of 400 samples at 16000 Hz: they are the same for every "
        "sound; a model trained with `fft_samples: 1024` has none"
    ]
    silent = spectra.mel_filters(16000, 400, 128).amax(1) == 0
    values = MelSpectrogram(16000, 400, 160, 128)(noise(1000))
    assert bool((values[:, silent] == 0).all())
    assert bool((values[:, ~silent] > 0).all())


_WITHOUT = """
import sys
sys.modules["torchaudio"] = None
import torch
from audio_ssl.base.catalog import load_part, parts
from audio_ssl.features.source import open_source
from audio_ssl.targets.teachers import kmeans

clip = torch.randn(16000, generator=torch.Generator().manual_seed(0))
for kind in ("mel", "patches"):
    part = load_part("frontends", kind)
    part.build(part.Config(), 16000)(clip[None], torch.tensor([16000]))
for features in ("mfcc", "logmel"):
    config = kmeans.Config(clusters=4, features=features)
    state = kmeans.fit(config, [clip], 16000, torch.Generator().manual_seed(0))
    assert state["centroids"].shape[0] == 4
for kind in ("mel", "mel_rvq", "random_projection"):
    load_part("teachers", kind)
assert open_source("logmel")(clip[None], torch.tensor([16000]))[0][0].shape == (1, 49, 80)
from audio_ssl.targets.codec.rvq_vae import Codec, CodecConfig
Codec(CodecConfig(sample_rate=16000)).encoder(clip[None, None])
load_part("teachers", "encodec")
from audio_ssl.probing.heads._beam import search
memory, lengths = torch.zeros(2, 6, 3), torch.tensor([6, 4])
step = lambda tokens, memory, lengths: torch.log_softmax(-torch.arange(5.0).repeat(len(tokens), 1), -1)
assert len(search(step, memory, lengths, 5, (0, 1), 2, 4, True)) == 2
from audio_ssl.probing.decode.ctc_beam import CTCBeamSearcher
searcher = CTCBeamSearcher(blank_index=0, vocab_list=["<blank>", "a", "b"], space_token="<blank>", beam_size=4)
logits = torch.log_softmax(5 * torch.eye(3)[[1, 0, 2, 2]], -1)
assert searcher.decode_log_probs(logits.numpy(), 4)[0].text == "ab"
for folder in ("probing/tasks", "probing/heads", "probing/decode", "objectives", "encoders"):
    for kind in parts(folder):
        load_part(folder, kind)
assert sys.modules["torchaudio"] is None
"""


def test_frontends_teachers_features_and_probes_do_without_torchaudio():
    done = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
