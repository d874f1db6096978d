"""Options of the transformer: exact under padding, the same as without them where they should be."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.models.attention import Relative, relaxed_attention
from audio_ssl.models.encoders import transformer

SMALL = transformer.Config(layers=3, dim=32, ffn_dim=48, heads=4, position_kernel_frames=9, position_groups=4)
QUIET = {"dropout": 0.0, "attention_dropout": 0.0, "input_dropout": 0.0, "layer_drop": 0.0}
VARIANTS = [
    {},
    {"pre_norm": True},
    {"deepnorm": True},
    {"positions": "rope"},
    {"positions": "none"},
    {"position_layers": 3, "position_kernel_frames": 5},
    {"position_layers": 2, "position_kernel_frames": 4},
    {"relative_positions": Relative(32, 40)},
    {"attention_relax": 32.0},
    {"feature_norm": False},
    {"pre_norm": True, "relative_positions": Relative(32, 40), "attention_relax": 32.0, "positions": "rope"},
]


def make(**options):
    torch.manual_seed(0)
    return transformer.build(dataclasses.replace(SMALL, **options), 20)


def clips(*lengths):
    generator = torch.Generator().manual_seed(sum(lengths))
    features = torch.randn(len(lengths), max(lengths), 20, generator=generator)
    return features, torch.tensor(lengths)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_batched_equals_single(variant):
    encoder = make(**variant).eval()
    features, frames = clips(50, 7, 1, 33)
    together = encoder(features, frames)
    for row, count in enumerate(frames.tolist()):
        alone = encoder(features[row : row + 1, :count], frames[row : row + 1])
        for ours, single in zip(together, alone, strict=True):
            torch.testing.assert_close(ours[row, :count], single[0], atol=1e-5, rtol=1e-4)
            assert not ours[row, count:].any()


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_weight_learns_and_a_clip_without_frames_harms_nothing(variant):
    encoder = make(layer_drop=0.0, **variant).train()
    features, frames = clips(20, 12, 6)
    frames[2] = 0
    mask = torch.zeros(3, 20, dtype=torch.bool)
    mask[:, 3:6] = True
    states = encoder(features, frames, mask)
    weights = torch.randn(32, generator=torch.Generator().manual_seed(1))
    (states[-1] @ weights).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        if variant.get("pre_norm") or not name.startswith("norm."):
            assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any() or name.endswith("key.bias"), name


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_bf16_autocast_is_finite_and_near(variant):
    encoder = make(**variant).eval()
    features, frames = clips(40, 25)
    with torch.autocast("cpu", torch.bfloat16):
        low = encoder(features, frames)
    for ours, exact in zip(low, encoder(features, frames), strict=True):
        assert torch.isfinite(ours).all()
        assert (ours.float() - exact).abs().mean() < 0.05 * exact.abs().mean() + 1e-3


def test_positions_matter_and_their_absence_does_not():
    features, frames = clips(12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    for options, moves in [
        ({"positions": "none"}, False),
        ({"positions": "rope"}, True),
        ({"positions": "none", "relative_positions": Relative(32, 40)}, True),
    ]:
        encoder = make(**options).eval()
        with torch.no_grad():
            # At first the attention weights are too even for a difference to show.
            for block in encoder.blocks:
                block.query.weight.mul_(20)
                block.key.weight.mul_(20)
            if encoder.relative is not None:
                encoder.relative.embedding.weight.mul_(50)
        plain, shuffled = encoder(features, frames)[-1], encoder(features[:, order], frames)[-1]
        assert ((plain[:, order] - shuffled).abs().max() > 1e-3) == moves


def test_deepnorm_scales_the_residual_path_and_the_first_weights():
    encoder = make(deepnorm=True, dim=64, ffn_dim=256, layers=4).eval()
    beta = (8 * 4) ** -0.25
    for block in encoder.blocks:
        assert block._residual == pytest.approx((2 * 4) ** 0.25)
        for part, gain in ((block.query, 1.0), (block.value, beta), (block.out, beta), (block.inner, beta)):
            expected = gain * (2 / sum(part.weight.shape)) ** 0.5
            assert part.weight.std().item() == pytest.approx(expected, rel=0.08)
    block, (x, frames) = encoder.blocks[0], (torch.randn(1, 9, 64), torch.tensor([9]))
    context = encoder._context(frames, torch.ones(1, 9, 1, dtype=torch.bool))
    middle = block.attention_norm(8**0.25 * x + block.attend(x, context))
    expected = block.final_norm(8**0.25 * middle + block.outer(F.gelu(block.inner(middle))))
    torch.testing.assert_close(block(x, context), expected)


def heads(dtype, size):
    generator = torch.Generator().manual_seed(3)
    return [(torch.randn(2, 3, 10, 8, generator=generator) * scale).to(dtype) for scale in (size, size, 1.0)]


def test_relaxed_attention_equals_attention_in_float32():
    query, key, value = heads(torch.float32, 2.0)
    keys = (torch.arange(10) < torch.tensor([[10], [6]]))[:, None, None]
    bias = torch.randn(2, 3, 10, 10, generator=torch.Generator().manual_seed(4))
    relaxed = relaxed_attention(query, key, value, keys, bias, 32.0, 0.0)
    mask = torch.where(keys, bias, float("-inf"))
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(relaxed, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "size"), [(torch.float16, 300.0), (torch.bfloat16, 1.5e19)])
def test_relaxed_attention_stays_finite_where_logits_overflow(dtype, size):
    query, key, value = (part.requires_grad_() for part in heads(dtype, size))
    logits = (query * 8**-0.5) @ key.transpose(-1, -2)
    assert torch.isinf(logits).any()
    assert torch.isnan(logits.softmax(-1) @ value).any()
    mixed = relaxed_attention(query, key, value, None, None, 32.0, 0.0)
    mixed.float().square().sum().backward()
    for result in (mixed, query.grad, key.grad, value.grad):
        assert torch.isfinite(result).all()
    # So far apart, each frame takes the one value it matches best.
    best = (query.double() @ key.double().transpose(-1, -2)).argmax(-1)
    torch.testing.assert_close(mixed, torch.gather(value, 2, best[..., None].expand_as(value)))


def test_relax_acts_in_the_encoder_and_changes_nothing_but_the_path(monkeypatch):
    features, frames = clips(30, 20)
    plain = make().eval()(features, frames)
    monkeypatch.setattr(F, "scaled_dot_product_attention", None)
    relaxed = make(attention_relax=32.0).eval()(features, frames)
    for ours, other in zip(relaxed, plain, strict=True):
        torch.testing.assert_close(ours, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("lengths", "masked"), [((12, 12), False), ((12, 9), True)])
def test_fused_attention_gets_a_mask_only_where_something_is_padded(monkeypatch, lengths, masked):
    masks, fused = [], F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *args, **kw: masks.append(kw["attn_mask"]) or fused(*args, **kw)
    )
    make().eval()(*clips(*lengths))
    assert [mask is not None for mask in masks] == [masked] * 3


@pytest.mark.parametrize("variant", [{}, {"relative_positions": Relative(32, 40), "pre_norm": True}], ids=str)
def test_checkpointed_gradients_are_equal_and_keep_less(variant):
    features, frames = clips(30, 20)
    gradients, kept = [], []
    for again in (False, True):
        encoder = make(checkpoint_activations=again, layer_drop=0.3, **variant).train()
        sizes = []
        torch.manual_seed(5)
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            loss = encoder(features, frames)[-1].square().sum()
        loss.backward()
        gradients.append([p.grad for p in encoder.parameters()])
        kept.append(sum(sizes))
    for ours, other in zip(*gradients, strict=True):
        assert (ours is None and other is None) or torch.equal(ours, other)
    assert kept[1] < 0.6 * kept[0]


# torch's own compiler warns of its own deprecations.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_compiled_encoder_gives_the_same():
    encoder = make(layers=2, relative_positions=Relative(32, 40), **QUIET)
    features, frames = clips(12, 9)
    compiled = torch.compile(encoder, backend="aot_eager")
    gradients = []
    for run in (encoder, compiled):
        encoder.zero_grad()
        states = run(features, frames)
        states[-1].square().sum().backward()
        gradients.append((states[-1].detach(), encoder.projection.weight.grad.clone()))
    for expected, ours in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "learnt"}, "`positions` must be conv, rope or none, but is `learnt`"),
        ({"positions": "rope", "heads": 32}, "must be even for `positions: rope`, but is 1"),
        ({"position_layers": 0}, "`position_layers` must be at least 1"),
        ({"pre_norm": True, "deepnorm": True}, "`pre_norm` must be false"),
        ({"attention_relax": 0.0}, "`attention_relax` must be at least 1, but is 0"),
        ({"relative_positions": Relative(30)}, r"buckets` must be a multiple of 4, but is 30"),
        ({"relative_positions": Relative(320, 80)}, r"max_distance` must be above a quarter of `buckets`, 80"),
        ({"heads": 0}, "must be a multiple of `heads` 0"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        make(**options)
