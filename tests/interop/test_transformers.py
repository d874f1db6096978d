"""Every hidden state equals that of transformers' models with the same random weights."""

import pytest
import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model

from audio_ssl.encoders import transformer
from audio_ssl.errors import UserError
from audio_ssl.frontends import conv
from audio_ssl.interop.transformers import load_transformers_weights, to_transformers_weights
from audio_ssl.model import ModelConfig, SSLModel
from tests.their_states import model_states

TOLERANCE = 1e-5


def pair(config_class, model_class, large):
    theirs = config_class(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        conv_dim=(32,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        do_stable_layer_norm=large,
        feat_extract_norm="layer" if large else "group",
        conv_bias=large,
    )
    torch.manual_seed(0)
    their_model = model_class(theirs).eval()
    with torch.no_grad():
        for parameter in their_model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model = SSLModel(
        ModelConfig(
            frontend=conv.Config(channels=(32,) * 7, norm="layer" if large else "group", bias=large),
            encoder=transformer.Config(
                layers=3, dim=48, ffn_dim=96, heads=4, pre_norm=large, position_kernel_frames=16, position_groups=4
            ),
            sample_rate=16000,
        )
    ).eval()
    return model, their_model


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    ("config_class", "model_class"), [(HubertConfig, HubertModel), (Wav2Vec2Config, Wav2Vec2Model)]
)
def test_hidden_states_equal_transformers(config_class, model_class, large):
    model, theirs = pair(config_class, model_class, large)
    load_transformers_weights(model, theirs.state_dict())
    waveform = torch.randn(1, 12345, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model_states(theirs, waveform)
        output = model(waveform)
    assert len(output.hidden) == len(expected) == 4
    for ours, other in zip(output.hidden, expected, strict=True):
        assert (ours - other).abs().max() <= TOLERANCE


def test_a_padded_batch_equals_single_clips_where_transformers_does_not():
    model, theirs = pair(HubertConfig, HubertModel, False)
    load_transformers_weights(model, theirs.state_dict())
    generator = torch.Generator().manual_seed(2)
    short, long = torch.randn(6000, generator=generator), torch.randn(12000, generator=generator)
    batch = torch.zeros(2, 12000)
    batch[0, :6000], batch[1] = short, long
    with torch.no_grad():
        alone = theirs(short[None]).last_hidden_state[0]
        ours = model(batch, torch.tensor([6000, 12000])).hidden[-1][0, : len(alone)]
        attention = (torch.arange(12000) < torch.tensor([[6000], [12000]])).long()
        padded = theirs(batch, attention_mask=attention).last_hidden_state[0, : len(alone)]
    assert (ours - alone).abs().max() <= TOLERANCE
    assert (padded - alone).abs().max() > 100 * TOLERANCE


def test_weights_make_the_round_trip():
    model, theirs = pair(HubertConfig, HubertModel, True)
    load_transformers_weights(model, theirs.state_dict())
    back = to_transformers_weights(model)
    assert back.keys() == theirs.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in theirs.state_dict().items())


def test_old_names_of_weight_norm_are_read():
    model, theirs = pair(HubertConfig, HubertModel, False)
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in theirs.state_dict().items()
    }
    assert any(name.endswith("weight_g") for name in old)
    load_transformers_weights(model, old)
    assert torch.equal(model.encoder.positions.conv.weight, theirs.encoder.pos_conv_embed.conv.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("encoder.layer_norm.weight"), "missing weights: encoder.layer_norm.weight"),
        (lambda s: s.update(extra=torch.zeros(1)), "unexpected weights: extra"),
        (
            lambda s: s.update({"encoder.layer_norm.weight": torch.zeros(2)}),
            r"must have the shape \[48\], but has \[2\]",
        ),
    ],
)
def test_wrong_weights_are_named(change, message):
    model, theirs = pair(HubertConfig, HubertModel, False)
    state = dict(theirs.state_dict())
    change(state)
    with pytest.raises(UserError, match=message):
        load_transformers_weights(model, state)
