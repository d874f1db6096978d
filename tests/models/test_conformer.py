"""The conformer equals transformers' with a layer norm in place of its batch norm, and is exact under padding."""

import dataclasses

import pytest
import torch
from torch import nn
from transformers import Wav2Vec2ConformerConfig
from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import Wav2Vec2ConformerEncoder

from audio_ssl.base.errors import UserError
from audio_ssl.models.attention import Relative
from audio_ssl.models.encoders import conformer
from tests.their_states import encoder_states

SMALL = conformer.Config(layers=3, dim=32, ffn_dim=48, heads=4, kernel_frames=7)
PARTS = {
    "query": "self_attn.linear_q",
    "key": "self_attn.linear_k",
    "value": "self_attn.linear_v",
    "out": "self_attn.linear_out",
    "attention_norm": "self_attn_layer_norm",
    "final_norm": "final_layer_norm",
    "first.norm": "ffn1_layer_norm",
    "first.inner": "ffn1.intermediate_dense",
    "first.outer": "ffn1.output_dense",
    "second.norm": "ffn2_layer_norm",
    "second.inner": "ffn2.intermediate_dense",
    "second.outer": "ffn2.output_dense",
    "convolution.norm": "conv_module.layer_norm",
    "convolution.gated": "conv_module.pointwise_conv1",
    "convolution.depthwise": "conv_module.depthwise_conv",
    "convolution.depthwise_norm": "conv_module.batch_norm.norm",
    "convolution.out": "conv_module.pointwise_conv2",
}


class ChannelNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


def make(**options):
    torch.manual_seed(0)
    return conformer.build(dataclasses.replace(SMALL, **options), 20)


def test_blocks_equal_transformers():
    theirs = Wav2Vec2ConformerEncoder(
        Wav2Vec2ConformerConfig(
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=48,
            conv_depthwise_kernel_size=7,
            hidden_act="swish",
            position_embeddings_type=None,
        )
    )
    for layer in theirs.layers:
        layer.conv_module.batch_norm = ChannelNorm(32)
    theirs.layer_norm = nn.Identity()
    theirs.pos_conv_embed = nn.Identity()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    encoder = make(positions="none").eval()
    state, own = theirs.eval().state_dict(), encoder.state_dict()
    for name in own:
        if name.startswith("blocks."):
            _, number, *part, leaf = name.split(".")
            value = state.pop(f"layers.{number}.{PARTS['.'.join(part)]}.{leaf}")
            own[name] = value.view(own[name].shape)
    assert not state
    encoder.load_state_dict(own)
    features = torch.randn(2, 40, 20, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        states = encoder(features, torch.tensor([40, 40]))
        expected = encoder_states(theirs, states[0])
    for ours, other in zip(states, expected, strict=True):
        assert (ours - other).abs().max() <= 1e-5


VARIANTS = [
    {},
    {"positions": "none"},
    {"relative_positions": Relative(32, 40), "attention_relax": 32.0},
    {"kernel_frames": 31},
    {"form": "speechbrain", "activation": "gelu", "positions": "transformer_xl"},
    {"form": "wav2vec2"},
    {"positions": "transformer_xl", "relative_positions": Relative(32, 40), "attention_relax": 32.0},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_batched_equals_single(variant):
    encoder = make(**variant).eval()
    features, frames = torch.randn(4, 50, 20, generator=torch.Generator().manual_seed(0)), torch.tensor([50, 7, 1, 33])
    together = encoder(features, frames)
    for row, count in enumerate(frames.tolist()):
        alone = encoder(features[row : row + 1, :count], frames[row : row + 1])
        for ours, single in zip(together, alone, strict=True):
            torch.testing.assert_close(ours[row, :count], single[0], atol=1e-5, rtol=1e-4)
            assert not ours[row, count:].any()


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_weight_learns(variant):
    encoder = make(**variant).train()
    features, frames = torch.randn(3, 20, 20), torch.tensor([20, 12, 0])
    mask = torch.zeros(3, 20, dtype=torch.bool)
    mask[:, 3:6] = True
    (encoder(features, frames, mask)[-1] @ torch.randn(32)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any() or name.endswith("key.bias"), name


def test_checkpointed_gradients_are_equal():
    gradients = []
    features, frames = torch.randn(2, 20, 20, generator=torch.Generator().manual_seed(0)), torch.tensor([20, 12])
    for again in (False, True):
        encoder = make(checkpoint_activations=again, layer_drop=0.3).train()
        torch.manual_seed(5)
        encoder(features, frames)[-1].square().sum().backward()
        gradients.append([p.grad for p in encoder.parameters() if p.grad is not None])
    for ours, other in zip(*gradients, strict=True):
        assert torch.equal(ours, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "conv"}, "`positions` must be rope, transformer_xl or none, but is `conv`"),
        ({"form": "espnet"}, "`form` must be w2v_bert, muq, speechbrain or wav2vec2, but is `espnet`"),
        ({"activation": "relu"}, "`activation` must be swish or gelu, but is `relu`"),
        ({"kernel_frames": 32}, "`kernel_frames` must be odd, but is 32"),
        ({"heads": 5}, "must be a multiple of `heads` 5"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        make(**options)
