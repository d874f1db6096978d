"""Hidden states before a layer's last residual sum: those of transformers' feed-forward parts, in every path."""

import dataclasses

import pytest
import torch
from transformers import Wav2Vec2ConformerConfig, WavLMConfig, WavLMModel
from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import Wav2Vec2ConformerEncoder

from audio_ssl.base.errors import UserError
from audio_ssl.models.attention import run_blocks
from audio_ssl.models.encoders import conformer, gru, transformer
from audio_ssl.models.fast.prepared import prepare
from audio_ssl.models.fast.unpadded import UnpaddedModel
from audio_ssl.models.frontends import conv
from audio_ssl.models.interfaces import check_point
from audio_ssl.models.model import ModelConfig, build_model
from audio_ssl.models.padding import visible_frames
from tests.models.test_conformer import PARTS, ChannelNorm
from tests.models.test_golden import OURS, SIZES, copied, random_weights

SMALL = transformer.Config(layers=3, dim=32, ffn_dim=48, heads=4, position_kernel_frames=9, position_groups=4)
CONFORMER = conformer.Config(layers=3, dim=32, ffn_dim=48, heads=4, kernel_frames=7)


def parts_of(theirs, name, features):
    """Return what the part of that name of each layer gives, for projected features."""
    seen = []
    hooks = [getattr(layer, name).register_forward_hook(lambda _m, _a, y: seen.append(y)) for layer in theirs.layers]
    with torch.no_grad():
        theirs(features)
    for hook in hooks:
        hook.remove()
    return seen


def assert_same(ours, expected):
    assert len(ours) == len(expected)
    for one, other in zip(ours, expected, strict=True):
        assert (one - other).abs().max() <= 1e-5 * max(1.0, other.abs().max().item())


@pytest.mark.parametrize("large", [False, True])
def test_transformers_feed_forward_part(large):
    config = WavLMConfig(
        **SIZES, num_conv_pos_embeddings=16, do_stable_layer_norm=large, num_buckets=32, max_bucket_distance=60
    )
    theirs = random_weights(WavLMModel(config))
    relative = transformer.Relative(32, 60)
    ours = copied(
        transformer.Config(**OURS, position_kernel_frames=16, pre_norm=large, relative_positions=relative), theirs
    )
    features, frames = torch.randn(2, 40, 32, generator=torch.Generator().manual_seed(1)), torch.tensor([40, 40])
    with torch.no_grad():
        expected = parts_of(theirs.encoder, "feed_forward", theirs.feature_projection(features)[0])
        states, outputs = ours(features, frames, point="feed_forward"), ours(features, frames)
    assert torch.equal(states[0], outputs[0])
    assert_same(states[1:], expected)
    assert all(((one - other).norm() > 0.5 * one.norm()) for one, other in zip(states[1:], outputs[1:], strict=True))


def test_the_second_half_of_transformers_conformer():
    config = Wav2Vec2ConformerConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        conv_depthwise_kernel_size=7,
        hidden_act="swish",
        position_embeddings_type=None,
    )
    theirs = Wav2Vec2ConformerEncoder(config)
    for layer in theirs.layers:
        layer.conv_module.batch_norm = ChannelNorm(32)
    theirs.pos_conv_embed = torch.nn.Identity()
    random_weights(theirs)
    encoder = conformer.build(dataclasses.replace(CONFORMER, positions="none"), 20).eval()
    own, state = encoder.state_dict(), theirs.state_dict()
    for name in own:
        if name.startswith("blocks."):
            _, number, *part, leaf = name.split(".")
            own[name] = state[f"layers.{number}.{PARTS['.'.join(part)]}.{leaf}"].view(own[name].shape)
    encoder.load_state_dict(own)
    with torch.no_grad():
        states = encoder(torch.randn(2, 40, 20), torch.tensor([40, 40]), point="feed_forward")
        assert_same(states[1:], parts_of(theirs, "ffn2", states[0]))


@pytest.mark.parametrize("variant", [{}, {"pre_norm": True}, {"deepnorm": True}], ids=str)
def test_padding_packing_and_what_is_left_out_change_nothing(variant):
    encoder = transformer.build(dataclasses.replace(SMALL, **variant), 20).eval()
    features, frames = torch.randn(3, 40, 20), torch.tensor([40, 23, 1])
    padded = encoder(features, frames, point="feed_forward")
    with torch.no_grad():
        packed = encoder(features, frames, point="feed_forward")
    nothing = torch.zeros(3, 40, dtype=torch.bool)
    every = encoder(features, frames, nothing, visible_frames(nothing, frames), point="feed_forward")
    first = encoder(features, frames, layers=1, point="feed_forward")
    assert [len(states) for states in (padded, packed, every, first)] == [4, 4, 4, 2]
    for one, two, three in zip(padded, packed, every, strict=True):
        torch.testing.assert_close(two, one.detach(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(three, one, atol=1e-5, rtol=1e-4)
        assert not one[1, 23:].any()
    torch.testing.assert_close(first[1], padded[1])


def test_conformer_clip_by_clip():
    encoder = conformer.build(CONFORMER, 20).eval()
    features, frames = torch.randn(2, 30, 20), torch.tensor([30, 11])
    padded = encoder(features, frames, point="feed_forward")
    with torch.no_grad():
        single = encoder(features, frames, point="feed_forward")
    assert_same(single, [state.detach() for state in padded])


def test_masked_frames_are_missing_in_them_too():
    encoder = transformer.build(dataclasses.replace(SMALL, alibi=True), 20).eval()
    features, frames = torch.randn(2, 40, 20), torch.tensor([40, 23])
    mask = torch.arange(40).expand(2, -1) % 3 == 1
    visible = visible_frames(mask, frames)
    before, after = (encoder(features, frames, mask, visible, point=point) for point in ("feed_forward", "output"))
    assert [state.shape for state in before] == [state.shape for state in after]
    assert before[-1].shape[1] == int(visible.frames.max()) < 40
    # The sum that the last block's norm gets, less the residual path.
    block, seen = encoder.blocks[-1], []
    block.attention_norm.register_forward_hook(lambda _m, _a, out: seen.append(out))
    block.final_norm.register_forward_hook(lambda _m, args, _o: seen.append(args[0]))
    encoder(features, frames, mask, visible)
    inside = (torch.arange(before[-1].shape[1]) < visible.frames[:, None])[..., None]
    torch.testing.assert_close(before[-1], torch.where(inside, seen[1] - seen[0], 0.0), atol=1e-5, rtol=1e-4)


def test_skipped_blocks_have_added_nothing_and_recomputing_changes_nothing():
    block = transformer.build(SMALL, 20).blocks[0]
    x, context = torch.randn(1, 9, 32), transformer.build(SMALL, 20)._place(9, torch.device("cpu"))
    states = run_blocks([block], x, context, 1.0, False, "feed_forward")
    assert torch.equal(states[0], x)
    assert not states[1].any()
    quiet = {"dropout": 0.0, "attention_dropout": 0.0, "input_dropout": 0.0, "layer_drop": 0.0}
    sums = []
    for recompute in (False, True):
        torch.manual_seed(0)
        encoder = transformer.build(dataclasses.replace(SMALL, **quiet, checkpoint_activations=recompute), 20).train()
        torch.manual_seed(1)
        state = encoder(torch.randn(2, 12, 20), torch.tensor([12, 12]), point="feed_forward")[-1]
        state.square().sum().backward()
        sums.append((state.detach(), encoder.blocks[0].inner.weight.grad))
    for one, other in zip(*sums, strict=True):
        torch.testing.assert_close(one, other)


def small_model(encoder):
    return build_model(ModelConfig(conv.Config(channels=(16,) * 7), encoder, 16000)).eval()


@torch.no_grad()
def test_models_and_what_they_are_prepared_as_give_them():
    model = small_model(dataclasses.replace(SMALL, position_kernel_frames=64))
    batch = (torch.randn(2, 9000), torch.tensor([9000, 4000]))
    expected = model(*batch, point="feed_forward").hidden
    assert not torch.equal(expected[-1], model(*batch).hidden[-1])
    cpu = torch.device("cpu")
    for ready in (prepare(model, "float32", cpu), UnpaddedModel(model, torch.float32)):
        assert_same(ready(*batch, point="feed_forward").hidden, expected)
    near = prepare(model, "bfloat16", cpu)(*batch, point="feed_forward").hidden[-1]
    assert (near - expected[-1]).norm() < 0.02 * expected[-1].norm()


def test_an_encoder_without_it_refuses():
    model = small_model(gru.Config(layers=1, dim=32))
    with pytest.raises(UserError, match="feed-forward part, which a gru encoder does not have"):
        model(torch.randn(1, 9000), point="feed_forward")
    with pytest.raises(UserError, match="`point` must be output or feed_forward, but is `residual`"):
        check_point("residual", SMALL)
