import pytest
import torch
from torch.nn import functional as F

from audio_ssl.base.catalog import quiet_import
from audio_ssl.base.errors import UserError
from audio_ssl.models.frontends import mel
from audio_ssl.targets import clustering
from audio_ssl.targets.spec import check_targets
from audio_ssl.targets.teachers import random_projection

with quiet_import():
    quantisers = pytest.importorskip("speechbrain.nnet.quantisers")

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


@pytest.mark.parametrize("codebook", [0, 1])
def test_labels_are_those_of_speechbrain_with_the_same_weights(codebook):
    teacher = make()
    theirs = quantisers.RandomProjectionQuantizer(320, 16, 50)
    theirs.P.copy_(teacher.projection[codebook])
    theirs.CB.copy_(teacher.codes[codebook])
    waveform = torch.randn(16000, generator=torch.Generator().manual_seed(3))
    frames = teacher._mel(waveform)
    assert torch.equal(teacher(waveform)[:, codebook], theirs(frames[None])[0])


def test_codebooks_are_independent_and_each_is_used():
    labels = torch.cat([make()(torch.randn(32000, generator=torch.Generator().manual_seed(i))) for i in range(8)])
    assert all(len(labels[:, k].unique()) > 20 for k in range(2))
    assert not torch.equal(labels[:, 0], labels[:, 1])


def test_scores_are_held_in_tiles(monkeypatch):
    sizes = []
    argmax = clustering._argmax

    def watched(scores):
        sizes.append(scores.numel())
        return argmax(scores)

    waveform = torch.randn(160_000, generator=torch.Generator().manual_seed(0))
    whole = make()(waveform)
    monkeypatch.setattr(clustering, "_TILE_SCORES", 1000)
    monkeypatch.setattr(clustering, "_argmax", watched)
    assert torch.equal(make()(waveform), whole)
    assert max(sizes) <= 1000
    assert sum(sizes) == 2 * 50 * len(whole)


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
