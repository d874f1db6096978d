"""Hidden states equal those of transformers' WavLM and data2vec audio with the same random weights."""

import pytest
import torch
from transformers import Data2VecAudioConfig, Data2VecAudioModel, WavLMConfig, WavLMModel

from audio_ssl.models.attention import Relative
from audio_ssl.models.encoders import transformer
from tests.their_states import encoder_states

SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "conv_dim": (32,) * 7,
    "num_conv_pos_embedding_groups": 4,
}
OURS = {"layers": 3, "dim": 48, "ffn_dim": 96, "heads": 4, "position_groups": 4}
BLOCK_PARTS = {
    "query": "attention.q_proj",
    "key": "attention.k_proj",
    "value": "attention.v_proj",
    "out": "attention.out_proj",
    "gate": "attention.gru_rel_pos_linear",
    "attention_norm": "layer_norm",
    "inner": "feed_forward.intermediate_dense",
    "outer": "feed_forward.output_dense",
    "final_norm": "final_layer_norm",
}


def their_name(ours):
    first, *rest = ours.split(".")
    if first == "blocks":
        if rest[1] == "gate_scale":
            return f"encoder.layers.{rest[0]}.attention.gru_rel_pos_const"
        return f"encoder.layers.{rest[0]}.{BLOCK_PARTS[rest[1]]}.{rest[2]}"
    tail = ".".join(rest)
    return {
        "mask_embedding": "masked_spec_embed",
        "feature_norm": f"feature_projection.layer_norm.{tail}",
        "projection": f"feature_projection.projection.{tail}",
        "norm": f"encoder.layer_norm.{tail}",
        "positions": f"encoder.pos_conv_embed.{tail}",
        "relative": "encoder.layers.0.attention.rel_attn_embed.weight",
    }[first]


def random_weights(model):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def copied(config, theirs):
    encoder = transformer.build(config, 32).eval()
    state = theirs.state_dict()
    ours = {name: state.pop(their_name(name)) for name in encoder.state_dict()}
    encoder.load_state_dict(ours)
    assert not [name for name in state if not name.startswith("feature_extractor")]
    return encoder


def compare(encoder, theirs, frames):
    features = torch.randn(2, frames, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        projected, _ = theirs.feature_projection(features)
        expected = encoder_states(theirs.encoder, projected)
        states = encoder(features, torch.tensor([frames, frames]))
    assert len(states) == len(expected) == 4
    for ours, other in zip(states, expected, strict=True):
        assert (ours - other).abs().max() <= 1e-5 * max(1.0, other.abs().max().item())


@pytest.mark.parametrize("relax", [None, 32.0])
@pytest.mark.parametrize("large", [False, True])
def test_wavlm(large, relax):
    theirs = WavLMConfig(
        **SIZES, num_conv_pos_embeddings=16, do_stable_layer_norm=large, num_buckets=32, max_bucket_distance=60
    )
    model = random_weights(WavLMModel(theirs))
    config = transformer.Config(
        **OURS,
        position_kernel_frames=16,
        pre_norm=large,
        relative_positions=Relative(32, 60),
        attention_relax=relax,
    )
    compare(copied(config, model), model, 90)


def test_data2vec_audio():
    defaults = Data2VecAudioConfig()
    assert (defaults.num_conv_pos_embeddings, defaults.conv_pos_kernel_size) == (5, 19)
    model = random_weights(Data2VecAudioModel(Data2VecAudioConfig(**SIZES)))
    config = transformer.Config(**OURS, position_layers=5, position_kernel_frames=19)
    compare(copied(config, model), model, 60)
