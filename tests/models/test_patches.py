import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.models.frontends import mel, patches


def noise(samples):
    return torch.randn(1, samples, generator=torch.Generator().manual_seed(samples))


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_patches_are_windows_of_the_log_mel_frames(stride):
    waveform, lengths = noise(9000), torch.tensor([9000])
    spectrum = {"n_mels": 20, "window_seconds": 0.025}
    rows, _ = mel.build(mel.Config(**spectrum, stack=1), 16000)(waveform, lengths)
    frontend = patches.build(patches.Config(**spectrum, patch_frames=4, stride_frames=stride), 16000)
    features, frames = frontend(waveform, lengths)
    assert features.shape == (1, int(frames[0]), frontend.dim) == (1, (54 - 4) // stride + 1, 80)
    for number in range(int(frames[0])):
        torch.testing.assert_close(features[0, number], rows[0, number * stride : number * stride + 4].flatten())


@pytest.mark.parametrize("samples", [100, 1503, 1504, 1824, 9000])
def test_any_length_has_the_frames_its_grid_says(samples):
    frontend = patches.build(patches.Config(), 16000)
    features, frames = frontend(noise(samples), torch.tensor([samples]))
    assert features.shape == (1, frontend.grid.num_frames(samples), 512)
    assert frames.tolist() == [features.shape[1]]


def test_fixed_statistics():
    waveform, lengths = noise(4000), torch.tensor([4000])
    plain, _ = patches.build(patches.Config(normalize=False), 16000)(waveform, lengths)
    fixed, _ = patches.build(patches.Config(normalize=False, mean=-4.3, std=4.6), 16000)(waveform, lengths)
    torch.testing.assert_close(fixed, (plain + 4.3) / 4.6)


def test_frame_rate_is_that_of_the_stride():
    assert patches.build(patches.Config(), 16000).grid.frame_rate_hz == 50


@pytest.mark.parametrize("stride", [0, 5])
def test_strides_that_leave_gaps_are_refused(stride):
    with pytest.raises(UserError, match=f"`stride_frames` must be between 1 and `patch_frames` 4, but is {stride}"):
        patches.build(patches.Config(stride_frames=stride), 16000)
