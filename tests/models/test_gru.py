import pytest
import torch
from torch import nn

from audio_ssl.base.errors import UserError
from audio_ssl.models.encoders import gru
from audio_ssl.models.model import ModelConfig, SSLModel


def make(**options):
    torch.manual_seed(0)
    return gru.build(gru.Config(**{"dim": 24, **options}), 20)


def test_states_are_those_of_residual_layers():
    encoder = make().eval()
    features = torch.randn(2, 30, 20)
    states = encoder(features, torch.tensor([30, 30]))
    assert len(states) == encoder.num_layers + 1 == 4
    x = states[0]
    for layer, state in zip(encoder.layers, states[1:], strict=True):
        x = x + layer(x)[0]
        torch.testing.assert_close(state, x)
    plain = make(residual=False).eval()
    torch.testing.assert_close(plain(features, torch.tensor([30, 30]))[1], plain.layers[0](states[0])[0])


def test_batched_equals_single_and_packed():
    encoder = make().eval()
    features, frames = torch.randn(3, 30, 20), torch.tensor([30, 11, 1])
    together = encoder(features, frames)
    for row, count in enumerate(frames.tolist()):
        alone = encoder(features[row : row + 1, :count], frames[row : row + 1])
        for ours, single in zip(together, alone, strict=True):
            torch.testing.assert_close(ours[row, :count], single[0])
            assert not ours[row, count:].any()
    packed = nn.utils.rnn.pack_padded_sequence(together[0], frames, batch_first=True)
    output, _ = nn.utils.rnn.pad_packed_sequence(encoder.layers[0](packed)[0], batch_first=True)
    torch.testing.assert_close(together[1], together[0] + output)


def test_future_samples_do_not_change_past_outputs():
    from audio_ssl.models.frontends import mel

    config = ModelConfig(mel.Config(n_mels=20, stack=1, normalize=False), gru.Config(dim=24), 16000)
    model = SSLModel(config).eval()
    waveform = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    changed = waveform.clone()
    changed[:, 8000:] *= 3
    with torch.no_grad():
        before, after = model(waveform).hidden, model(changed).hidden
    past = model.grid.num_frames(8000)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[:, :past], other[:, :past])
        assert not torch.equal(one[:, past + 1 :], other[:, past + 1 :])


def test_dropout_is_between_layers_only_and_every_weight_learns():
    encoder = make(layers=1, dropout=0.9).train()
    features, frames = torch.randn(2, 10, 20), torch.tensor([10, 6])
    assert torch.equal(encoder(features, frames)[-1], encoder(features, frames)[-1])
    encoder = make().train()
    assert not torch.equal(encoder(features, frames)[-1], encoder(features, frames)[-1])
    mask = torch.zeros(2, 10, dtype=torch.bool)
    mask[:, 2] = True
    encoder(features, frames, mask)[-1].square().sum().backward()
    assert all(p.grad.any() for p in encoder.parameters())


def test_less_than_one_layer_is_refused():
    with pytest.raises(UserError, match="`layers` must be at least 1, but is 0"):
        make(layers=0)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_first_layer_may_read_the_frames_themselves(cell):
    encoder = make(form="frames", cell=cell).eval()
    features, frames = torch.randn(2, 30, 20), torch.tensor([30, 12])
    states = encoder(features, frames)
    assert [state.shape for state in states] == [(2, 30, 24)] * 4
    assert torch.equal(states[0][0, :, :20], features[0])
    assert not states[0][..., 20:].any()
    first, second, _ = encoder.layers
    torch.testing.assert_close(states[1][0], first(features[:1])[0][0])
    torch.testing.assert_close(states[2][0], (first(features[:1])[0] + second(first(features[:1])[0])[0])[0])
    assert not torch.equal(make(form="frames").train()(features, frames)[-1], states[-1])
    with pytest.raises(UserError, match="`dim` must be at least the frontend's width 20 for `form: frames`, but is 16"):
        make(form="frames", dim=16)
    with pytest.raises(UserError, match="`cell` must be gru or lstm, but is `rnn`"):
        make(cell="rnn")
