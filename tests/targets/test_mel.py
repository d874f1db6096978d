from dataclasses import replace

import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.models.frontends import mel as frontend
from audio_ssl.pretrain.objectives import reconstruction
from audio_ssl.pretrain.view import ModelShape
from audio_ssl.targets.spec import check_targets
from audio_ssl.targets.teachers import mel
from tests.objectives.views import make_view

CPU = torch.device("cpu")


def noise(samples):
    return torch.randn(samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("options", [{}, {"stack": 1, "n_mels": 40}, {"stack": 2, "window_seconds": 0.05}])
def test_values_and_grid_are_those_of_the_mel_frontend(options):
    teacher = mel.build(mel.Config(**options), 16000, CPU)
    module = frontend.build(frontend.Config(**options), 16000)
    assert teacher.spec.grid == module.grid
    waveform = noise(9000)
    targets = teacher(waveform)
    check_targets(targets, teacher.spec, 9000)
    features, frames = module(waveform[None], torch.tensor([9000]))
    torch.testing.assert_close(targets, features[0, : int(frames[0])], rtol=1e-3, atol=1e-3)


def test_bands_are_normalised_over_the_clip():
    targets = mel.build(mel.Config(stack=1), 16000, CPU)(noise(16000))
    torch.testing.assert_close(targets.mean(0), torch.zeros(80), rtol=0, atol=1e-4)
    torch.testing.assert_close(targets.var(0, unbiased=False), torch.ones(80), rtol=0, atol=1e-3)


def test_a_clip_shorter_than_a_frame_has_no_targets():
    assert mel.build(mel.Config(), 16000, CPU)(torch.zeros(100)).shape == (0, 320)


def test_settings_and_rate_are_in_the_fingerprint():
    config = mel.Config(n_mels=20)
    prints = {mel.build(c, rate, CPU).fingerprint for c in (config, replace(config, stack=2)) for rate in (8000, 16000)}
    assert len(prints) == 4


def test_it_can_be_reconstructed():
    teacher = mel.build(mel.Config(n_mels=10, stack=1), 16000, CPU)
    targets = torch.stack([teacher(noise(9000))] * 3)
    head = reconstruction.build(reconstruction.Config(name="mel"), ModelShape(16, 12, layers=3), teacher.spec)
    output = head(make_view((targets.shape[1],) * 3, targets=targets))
    assert set(output.metrics) == {"mel_mse"}
    assert 0 < float(output.loss_sum.detach() / output.count) < 3


def test_bad_settings_are_refused():
    with pytest.raises(UserError, match="`stack` must be at least 1, but is 0"):
        mel.build(mel.Config(stack=0), 16000, CPU)
    with pytest.raises(UserError, match="`hop_seconds` must last at least a sample"):
        mel.build(mel.Config(hop_seconds=0.0), 16000, CPU)
