"""Clips packed into one row give what they give padded and with gradients, for every option of the transformer."""

import dataclasses

import pytest
import torch

from audio_ssl.models.attention import Relative
from audio_ssl.models.encoders import transformer
from audio_ssl.models.padding import pack, unpack

SMALL = transformer.Config(layers=3, dim=32, ffn_dim=48, heads=4, position_kernel_frames=9, position_groups=4)
VARIANTS = [
    {},
    {"pre_norm": True},
    {"deepnorm": True},
    {"positions": "rope"},
    {"positions": "none"},
    {"position_layers": 3, "position_kernel_frames": 4},
    {"alibi": True},
    {"relative_positions": Relative(32, 40)},
    {"attention_relax": 32.0},
    {"feature_norm": False},
    {"pre_norm": True, "relative_positions": Relative(32, 40), "attention_relax": 32.0, "positions": "rope"},
]


def make(**options):
    torch.manual_seed(0)
    return transformer.build(dataclasses.replace(SMALL, **options), 20).eval()


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("counts", [(50, 7, 1, 33), (20, 20), (0, 9, 0), (0, 0)], ids=str)
def test_packed_equals_padded(variant, counts):
    encoder, total = make(**variant), max(*counts, 4)
    features = torch.randn(len(counts), total, 20, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(total).expand(len(counts), -1) % 5 == 2
    for given in (None, mask):
        for layers in (None, 1):
            expected = encoder(features, torch.tensor(counts), given, layers=layers)
            with torch.no_grad():
                packed = encoder(features, torch.tensor(counts), given, layers=layers)
            for ours, other in zip(packed, expected, strict=True):
                torch.testing.assert_close(ours, other.detach(), atol=1e-5, rtol=1e-4)


def test_what_lies_past_a_clip_has_no_influence():
    encoder, frames = make(), torch.tensor([12, 5])
    features = torch.randn(2, 12, 20)
    with torch.no_grad():
        clean = encoder(features, frames)
        features[1, 5:] = torch.nan
        assert torch.equal(encoder(features, frames)[-1], clean[-1])


def test_unpack_undoes_pack():
    x = torch.randn(3, 5, 2)
    for counts in ([5, 5, 5], [5, 0, 2]):
        back = unpack(pack(x, counts), counts, 5)
        for row, count in enumerate(counts):
            assert torch.equal(back[row, :count], x[row, :count])
            assert not back[row, count:].any()
