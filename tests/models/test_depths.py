"""The layer of each weight, by which learning rates fall: every encoder, its norms and its frontend."""

import pytest

from audio_ssl.base import catalog
from audio_ssl.base.errors import UserError
from audio_ssl.models.depths import check_layer_decay, layer_depths, rate_shares
from audio_ssl.models.model import ModelConfig, SSLModel

SIZES = {"layers": 3, "dim": 32, "ffn_dim": 48, "heads": 4}


def model(kind, **more):
    frontend = catalog.load_part("frontends", "mel").Config(n_mels=20)
    return SSLModel(ModelConfig(frontend, catalog.load_part("encoders", kind).Config(**more), 16000))


@pytest.mark.parametrize(
    ("made", "at_the_top", "at_the_bottom"),
    [
        (("transformer", SIZES), "encoder.blocks.2.final_norm.weight", "encoder.norm.weight"),
        (("transformer", {**SIZES, "pre_norm": True}), "encoder.norm.weight", "encoder.mask_embedding"),
        (("conformer", {**SIZES, "form": "speechbrain"}), "encoder.last_norm.weight", "encoder.projection.weight"),
        (("conformer", SIZES), "encoder.blocks.2.second.outer.bias", "encoder.feature_norm.bias"),
        (("gru", {"layers": 3, "dim": 32}), "encoder.layers.2.weight_hh_l0", "encoder.projection.bias"),
    ],
)
def test_rates_fall_from_the_last_layer_to_what_lies_below_the_first(made, at_the_top, at_the_bottom):
    kind, settings = made
    found = model(kind, **settings)
    depths, shares = layer_depths(found), rate_shares(found, 0.5)
    assert depths.keys() == shares.keys() == dict(found.named_parameters()).keys()
    assert (depths[at_the_top], depths[at_the_bottom]) == (3, 0)
    assert (shares[at_the_top], shares[at_the_bottom]) == (1.0, 0.125)
    assert {depths[name] for name in depths if ".1." in name and "encoder" in name} == {2}


@pytest.mark.parametrize("decay", [0.0, -1.0, 1.1])
def test_a_decay_is_above_zero_and_at_most_one(decay):
    with pytest.raises(UserError, match=r"\$\.here: must be above 0 and at most 1, but is"):
        check_layer_decay(decay, "$.here")
