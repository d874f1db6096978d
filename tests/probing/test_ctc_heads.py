import pytest
import torch
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.probing.head import HeadBatch, masked
from audio_ssl.probing.heads import ctc, ctc_dnn


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        yield


def test_batch_norm_sees_no_padding(seeded):
    head = ctc_dnn.build(ctc_dnn.Config(dim=8, layers=2, dropout=0.0), 6, 4, "tokens")
    features, frames = random(2, 9, 6), torch.tensor([9, 5])
    wild = torch.where((torch.arange(9) < frames[:, None])[..., None], features, 1e6)
    targets = [torch.tensor([0, 1]), torch.tensor([2])]
    state = {name: value.clone() for name, value in head.state_dict().items()}
    first = head.train().loss(HeadBatch(features, frames), targets)
    means = [norm.running_mean.clone() for norm in head.norms]
    head.load_state_dict(state)
    second = head.loss(HeadBatch(wild, frames), targets)
    assert torch.equal(first, second)
    assert all(torch.equal(mean, norm.running_mean) for mean, norm in zip(means, head.norms, strict=True))
    plain = torch.nn.functional.linear(features[torch.arange(9) < frames[:, None]], head.linears[0].weight)
    torch.testing.assert_close(means[0], 0.1 * (plain + head.linears[0].bias).mean(0))
    assert not head.stackable


def test_the_gender_studys_layers():
    head = ctc_dnn.build(ctc_dnn.Config(), 768, 40, "tokens")
    assert [(layer.in_features, layer.out_features) for layer in head.linears] == [(768, 1024)] + [(1024, 1024)] * 2
    assert head.output.out_features == 41
    with pytest.raises(UserError, match="`layers` must be at least 1, but is 0"):
        ctc_dnn.build(ctc_dnn.Config(layers=0), 768, 40, "tokens")


def test_loss_is_torchs_per_token(seeded):
    head = ctc.build(ctc.Config(lstm_layers=0), 6, 4, "tokens")
    batch = HeadBatch(random(2, 9, 6), torch.tensor([9, 5]))
    targets = [torch.tensor([0, 1, 1]), torch.tensor([3])]
    each = [
        F.ctc_loss(
            F.log_softmax(head(features[None, :count], torch.tensor([count])), -1).transpose(0, 1),
            target[None] + 1,
            torch.tensor([count]),
            torch.tensor([len(target)]),
        )
        for features, count, target in zip(batch.features, batch.frames.tolist(), targets, strict=True)
    ]
    torch.testing.assert_close(head.loss(batch, targets), torch.stack(each).mean())


def test_projection_of_ctc():
    assert isinstance(ctc.build(ctc.Config(lstm_layers=0), 6, 4, "tokens").projection, torch.nn.Identity)
    phones = ctc.build(ctc.Config(lstm_layers=0, projection_dim=256), 6, 4, "tokens")
    assert (phones.projection.out_features, phones.output.in_features) == (256, 256)
    assert phones.stackable
    superb = ctc.build(ctc.Config(), 6, 4, "tokens")
    assert (superb.projection.out_features, superb.output.in_features) == (1024, 2048)


def test_masks_of_specaugment(seeded):
    frames = torch.tensor([50, 20])
    out = masked(torch.ones(2, 50, 30), frames, (2, 10), (0, 5))
    hidden = out[..., 0] == 0
    assert torch.equal(hidden, (out == 0).all(-1))
    assert 0 < hidden.sum(1).max() <= 20
    # All of a clip's masks lie within the clip.
    assert not hidden[1, 20:].any()
    bands = masked(torch.ones(2, 50, 30), frames, (0, 10), (3, 5))
    assert torch.equal(bands[:, 0], bands[:, 49])
    assert 0 < (bands[0, 0] == 0).sum() <= 15
    assert not torch.equal(bands[0], bands[1])


def test_specaugment_is_for_training_only_and_for_stacked_heads(seeded):
    head = ctc.build(ctc.Config(lstm_layers=0, specaugment=True, time_mask_frames=8), 60, 4, "tokens")
    features, frames = random(2, 30, 60), torch.tensor([30, 20])
    bare = head.output(features)
    assert torch.equal(head.eval()(features, frames), bare)
    assert not torch.equal(head.train()(features, frames), bare)
    both = torch.vmap(lambda x: head(x, frames), randomness="different")(torch.stack([features, features]))
    assert not torch.equal(both[0], both[1])
