import pytest
import torch
from torch.nn import functional as F

from audio_ssl.data.targets import check_targets
from audio_ssl.errors import UserError
from audio_ssl.frontends import mel
from audio_ssl.teachers import random_projection

CPU = torch.device("cpu")


def make(**options):
    return random_projection.build(random_projection.Config(codebook_size=50, codebooks=2, **options), 16000, CPU)


def test_labels_are_the_nearest_normalised_codes():
    teacher = make()
    waveform = torch.randn(8000, generator=torch.Generator().manual_seed(0))
    labels = teacher(waveform)
    frames = teacher._mel(waveform)
    for k in range(2):
        projected = F.normalize(frames @ teacher.projection[k], dim=-1)
        distance = (projected[:, None] - teacher.codes[k][None]).square().sum(-1)
        assert torch.equal(labels[:, k], distance.argmin(-1))
    check_targets(labels, teacher.spec, 8000)


def test_grid_is_that_of_the_mel_frontend():
    assert make().spec.grid == mel.build(mel.Config(), 16000).grid


def test_the_seed_decides():
    waveform = torch.randn(8000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(make(seed=1)(waveform), make(seed=1)(waveform))
    assert not torch.equal(make(seed=1)(waveform), make(seed=2)(waveform))
    assert make(seed=1).fingerprint != make(seed=2).fingerprint


def test_a_clip_shorter_than_a_frame_has_no_labels():
    assert make()(torch.zeros(100)).shape == (0, 2)


def test_empty_codebooks_are_refused():
    with pytest.raises(UserError, match="`codebooks` must be at least 1"):
        random_projection.build(random_projection.Config(codebooks=0), 16000, CPU)
