import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("torchaudio")

from torchaudio.transforms import MelSpectrogram

from audio_ssl.base.errors import UserError
from audio_ssl.models.frontends import mel


def noise(samples, clips=1):
    return torch.randn(clips, samples, generator=torch.Generator().manual_seed(samples))


def expected_log_mel(waveform):
    spectrogram = MelSpectrogram(16000, n_fft=400, hop_length=160, n_mels=20, center=False)(waveform)
    return torch.log(spectrogram + 1e-6).transpose(1, 2)


def test_stacked_frames_are_those_of_torchaudio():
    waveform = noise(8000)
    features, frames = mel.build(mel.Config(n_mels=20, normalize=False), 16000)(waveform, torch.tensor([8000]))
    plain = expected_log_mel(waveform)
    assert frames.tolist() == [12]
    torch.testing.assert_close(features, plain[:, :48].reshape(1, 12, 80))


@pytest.mark.parametrize("extra", [{}, {"conv_channels": (3, 2)}])
def test_fixed_statistics_replace_those_of_the_clip(extra):
    waveform, lengths = noise(8000), torch.tensor([8000])
    plain = mel.build(mel.Config(n_mels=20, stack=1, normalize=False, **extra), 16000)
    fixed = mel.build(mel.Config(n_mels=20, stack=1, normalize=False, mean=-6.0, std=4.0, **extra), 16000)
    fixed.load_state_dict(plain.state_dict())
    log_mel = expected_log_mel(waveform)
    if not extra:
        torch.testing.assert_close(fixed(waveform, lengths)[0], (log_mel + 6) / 4)
    else:
        x = ((log_mel + 6) / 4)[:, None]
        for conv in plain.convs:
            x = F.leaky_relu(conv(x))
        torch.testing.assert_close(fixed(waveform, lengths)[0], x.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("samples", [100, 399, 400, 1359, 1360, 1361, 8000])
@pytest.mark.parametrize(
    "options",
    [
        {"stack": 1},
        {"stack": 4},
        {"stack": 1, "conv_channels": (4,)},
        {"stack": 1, "conv_channels": (4, 2)},
        {"stack": 1, "conv_channels": (4, 2), "form": "speechbrain"},
    ],
)
def test_any_length_has_the_frames_its_grid_says(options, samples):
    frontend = mel.build(mel.Config(n_mels=21, **options), 16000)
    features, frames = frontend(noise(samples), torch.tensor([samples]))
    assert features.shape == (1, frontend.grid.num_frames(samples), frontend.dim)
    assert frames.tolist() == [features.shape[1]]


@pytest.mark.parametrize(
    ("options", "rate_hz", "dim"),
    [
        ({"stack": 1}, 100.0, 80),
        ({"stack": 2}, 50.0, 160),
        ({"stack": 4}, 25.0, 320),
        ({"stack": 1, "conv_channels": (128, 32)}, 25.0, 640),
        ({"stack": 1, "conv_channels": (128,)}, 50.0, 128 * 40),
        ({"stack": 1, "conv_channels": (128, 32), "form": "speechbrain"}, 25.0, 640),
    ],
)
def test_frame_rates(options, rate_hz, dim):
    frontend = mel.build(mel.Config(**options), 16000)
    assert frontend.grid.frame_rate_hz == rate_hz
    assert frontend.dim == dim


def test_frames_see_their_window_and_no_more():
    frontend = mel.build(mel.Config(n_mels=20, stack=1, normalize=False, conv_channels=(4, 2)), 16000)
    waveform = noise(8000)
    start = frontend.grid.frame_start_samples(5)
    end = start + frontend.grid.window_samples
    before = frontend(waveform, torch.tensor([8000]))[0][:, 5]
    outside = waveform.clone()
    outside[:, :start] = outside[:, end:] = 9.0
    torch.testing.assert_close(frontend(outside, torch.tensor([8000]))[0][:, 5], before)
    for edge in (slice(start, start + 200), slice(end - 200, end)):
        inside = waveform.clone()
        inside[:, edge] *= 30
        assert not torch.allclose(frontend(inside, torch.tensor([8000]))[0][:, 5], before, atol=1e-3)


def test_only_convolutions_are_saved():
    assert not mel.build(mel.Config(), 16000).state_dict()
    assert set(mel.build(mel.Config(stack=1, conv_channels=(4, 2)), 16000).state_dict()) == {
        "convs.0.weight",
        "convs.0.bias",
        "convs.1.weight",
        "convs.1.bias",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conv_channels": (8, 8)}, "`stack` must be 1 with `conv_channels`"),
        ({"mean": 1.0}, "`mean` and `std` must be given together"),
        ({"mean": 1.0, "std": 1.0}, "`normalize` must be false where `mean` and `std` are given"),
        ({"normalize": False, "mean": 1.0, "std": 0.0}, "`std` must be above 0, but is 0"),
        ({"hop_seconds": 1e-6}, "`hop_seconds` must last at least a sample"),
        ({"form": "kaldi"}, "`form` must be plain or speechbrain, but is `kaldi`"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        mel.build(mel.Config(**options), 16000)
