"""Masked frames left out of the transformer: the visible ones know of each other what they would know anyway."""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from audio_ssl.base.errors import UserError
from audio_ssl.models.attention import BlockContext, Relative, run_blocks
from audio_ssl.models.encoders import transformer
from audio_ssl.models.padding import put_back, take_visible, visible_frames
from audio_ssl.models.positions import LinearBias, slopes

SMALL = transformer.Config(
    layers=3, dim=32, ffn_dim=48, heads=4, position_kernel_frames=9, position_groups=4, layer_drop=0.0
)
QUIET = {"dropout": 0.0, "attention_dropout": 0.0, "input_dropout": 0.0}
VARIANTS = [
    {},
    {"pre_norm": True},
    {"deepnorm": True},
    {"positions": "rope"},
    {"position_layers": 3, "position_kernel_frames": 5, "alibi": True},
    {"positions": "none", "relative_positions": Relative(32, 40)},
    {"attention_relax": 32.0, "alibi": True},
]


def make(**options):
    torch.manual_seed(0)
    encoder = transformer.build(dataclasses.replace(SMALL, **options), 20)
    with torch.no_grad():
        # At first the attention weights are too even for a difference to show.
        for block in encoder.blocks:
            block.query.weight.mul_(20)
            block.key.weight.mul_(20)
        if encoder.alibi is not None:
            encoder.alibi.scale.mul_(torch.tensor([0.5, 1.0, 2.0, -1.0])[:, None, None])
    return encoder


def masked_clips(lengths=(40, 23), clones=2, share=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(len(lengths), max(lengths), 20, generator=generator)
    frames = torch.tensor(lengths)
    many = frames.repeat_interleave(clones)
    mask = torch.rand(len(many), max(lengths), generator=generator) < share
    return features, frames, mask & (torch.arange(max(lengths)) < many[:, None]), visible_frames(mask, many)


def with_attention_masked(encoder, features, frames, mask):
    """Return the states of all frames where masked ones are zero for the convolutions and are not attended to."""
    inside = (torch.arange(features.shape[1]) < frames[:, None])[..., None]
    seen = inside & ~mask[..., None]
    x = torch.where(seen, encoder.projection(encoder.feature_norm(features)), 0.0)
    if encoder.positions is not None:
        x = x + encoder.positions(x, inside)
    x = x if encoder._config.pre_norm else encoder.norm(x)
    whole = encoder._context(frames, inside)
    states = run_blocks(
        encoder.blocks, x, BlockContext(inside, seen[:, None, None, :, 0], whole.bias, whole.rotation), 0, False
    )
    return [*states[:-1], encoder.norm(states[-1])] if encoder._config.pre_norm else states


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_states_are_those_of_attention_kept_to_the_visible_frames(variant):
    encoder = make(**variant).eval()
    features, frames, mask, visible = masked_clips()
    found = encoder(features, frames, mask, visible)
    many = (features.repeat_interleave(2, 0), frames.repeat_interleave(2))
    expected = with_attention_masked(encoder, *many, mask)
    assert len(found) == len(expected) == 4
    assert len(set(visible.frames.tolist())) > 1
    for ours, theirs in zip(found, expected, strict=True):
        for row, number in enumerate(visible.frames.tolist()):
            here = (~mask[row, : many[1][row]]).nonzero()[:, 0]
            torch.testing.assert_close(ours[row, :number], theirs[row, here], atol=2e-5, rtol=1e-4)
            assert not ours[row, number:].any()


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_clips_and_clones_together_equal_each_alone(variant):
    encoder = make(**variant).eval()
    features, frames, mask, visible = masked_clips()
    together = encoder(features, frames, mask, visible)
    for row in range(4):
        count = int(frames[row // 2])
        one = (features[row // 2, None, :count], frames[row // 2, None], mask[row, None, :count])
        alone = encoder(*one, visible_frames(one[2], one[1]))
        for ours, single in zip(together, alone, strict=True):
            number = single.shape[1]
            assert number == int(visible.frames[row])
            torch.testing.assert_close(ours[row, :number], single[0], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_nothing_masked_is_the_plain_encoder_and_masked_frames_leave_no_trace(variant):
    encoder = make(**variant).eval()
    features, frames, mask, visible = masked_clips(clones=1)
    nothing = torch.zeros_like(mask)
    for ours, plain in zip(
        encoder(features, frames, nothing, visible_frames(nothing, frames)), encoder(features, frames), strict=True
    ):
        torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-5)
    other = torch.where(mask[..., None], 9 * features.flip(0) + 1, features)
    for ours, same in zip(encoder(features, frames, mask, visible), encoder(other, frames, mask, visible), strict=True):
        assert torch.equal(ours, same)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_weight_but_the_mask_embedding_learns(variant):
    encoder = make(**variant, **QUIET).train()
    states = encoder(*masked_clips())
    weights = torch.randn(32, generator=torch.Generator().manual_seed(1))
    (states[-1] @ weights).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        if name == "mask_embedding":
            assert parameter.grad is None
        else:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.any() or name.endswith("key.bias"), name


def flops(work):
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def test_work_of_the_blocks_falls_with_the_visible_share():
    # Relaxed attention is made of products that the counter knows; it does not know torch's fused one on a CPU.
    encoder = make(positions="none", dim=64, ffn_dim=256, layers=4, attention_relax=32.0).eval()
    features, frames = torch.randn(2, 200, 20), torch.tensor([200, 200])
    whole = flops(lambda: encoder(features, frames))
    before = flops(lambda: encoder.projection(features))
    attention = 4 * 2 * 2 * 2 * 200 * 200 * 64
    for share in (0.5, 0.25):
        mask = torch.rand(2, 200).argsort(1) >= share * 200
        seen = visible_frames(mask, frames)
        expected = share * (whole - before - attention) + share**2 * attention + before
        assert flops(lambda seen=seen, mask=mask: encoder(features, frames, mask, seen)) == pytest.approx(expected)


def test_frames_are_taken_out_and_put_back():
    _, frames, mask, visible = masked_clips((9, 1, 6), 2)
    inside = torch.arange(9) < frames.repeat_interleave(2)[:, None]
    x = torch.randn(6, 9, 3)
    taken = take_visible(x, visible)
    kept = torch.where((torch.arange(taken.shape[1]) < visible.frames[:, None])[..., None], taken, 0.0)
    torch.testing.assert_close(put_back(kept, visible, 9), torch.where((inside & ~mask)[..., None], x, 0.0))


def test_a_clip_of_which_nothing_is_seen_harms_nothing():
    encoder = make().train()
    features, frames, mask, _ = masked_clips(clones=1)
    mask[1] = True
    states = encoder(features, frames, mask, visible_frames(mask, frames))
    assert not states[-1][1].any()
    states[-1].square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)


def test_linear_bias_falls_with_the_distance_and_never_rises():
    bias = LinearBias(4)
    with torch.no_grad():
        bias.scale.copy_(torch.tensor([1.0, 2.0, 0.0, -3.0])[:, None, None])
    values = bias(5)
    distance = (torch.arange(5) - torch.arange(5)[:, None]).abs()
    expected = -distance * torch.tensor([0.25, 0.125, 0.0, 0.0])[:, None, None]
    torch.testing.assert_close(values, expected)
    # The slopes of twelve heads in the published code.
    assert slopes(12)[:3] + slopes(12)[-2:] == pytest.approx([0.5, 0.25, 0.125, 2**-2.5, 2**-3.5])


def test_two_biases_are_refused():
    with pytest.raises(UserError, match="`alibi` and `relative_positions` are both"):
        make(alibi=True, relative_positions=Relative(32, 40))
