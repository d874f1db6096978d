from __future__ import annotations

import dataclasses

import pytest
from torch import Tensor, nn

from audio_ssl.base.errors import UserError
from audio_ssl.models.encoders import gru, transformer
from audio_ssl.pretrain.checks import check_conditions, check_objectives, check_shares, check_teachers, is_causal
from audio_ssl.pretrain.kinds.masked_prediction import Config
from audio_ssl.pretrain.masking import Mask
from audio_ssl.pretrain.objectives import autoregressive, clip_contrast, contrastive, cpc
from audio_ssl.targets.teachers import hidden, kmeans
from tests.pretrain.rounds import a_round


class Forwards(nn.Module):
    """Sees the past, `late` frames of the future, and nothing else."""

    def __init__(self, late: int = 0) -> None:
        super().__init__()
        self.late = late
        self.layer = nn.GRU(6, 6, batch_first=True)

    def forward(self, features: Tensor, frames: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        return [features, self.layer(features.roll(-self.late, 1))[0]]


def test_causality_is_tried_out() -> None:
    assert is_causal(Forwards(), 6)
    assert not is_causal(Forwards(late=1), 6)
    encoder = transformer.build(
        transformer.Config(layers=1, dim=16, ffn_dim=16, heads=2, position_kernel_frames=4, position_groups=2), 6
    )
    encoder.train()
    assert not is_causal(encoder, 6)
    assert encoder.training


@pytest.mark.parametrize("config", [cpc.Config(), autoregressive.Config()])
def test_what_predicts_ahead_needs_an_encoder_that_does_not_look_ahead(config: object) -> None:
    recipe = Config(objectives=(config,), mask=None)
    check_conditions(a_round(recipe, Forwards()))
    with pytest.raises(UserError, match=r"\$\.encoder: .* needs an encoder that sees no frame after"):
        check_conditions(a_round(recipe, Forwards(late=2)))


def test_a_shared_norm_needs_one_in_the_encoder() -> None:
    sizes = {"layers": 1, "dim": 16, "ffn_dim": 16, "heads": 2, "position_kernel_frames": 4, "position_groups": 2}
    own, shared = (Config(objectives=(contrastive.Config(shared_norm=shared),)) for shared in (False, True))
    for feature_norm in (True, False):
        encoder = transformer.build(transformer.Config(**sizes, feature_norm=feature_norm), 6)  # type: ignore[arg-type]
        assert len(check_objectives(a_round(own, encoder), [])) == 1
        if feature_norm:
            check_objectives(a_round(shared, encoder), [])
            continue
        with pytest.raises(UserError, match=r"\$\.objectives\[0\]\.shared_norm: .* this encoder has none") as raised:
            check_objectives(a_round(shared, encoder), [])
        assert raised.value.remedy == "give `shared_norm: false`, so that the objective has a norm of its own"


@pytest.mark.parametrize("wrong", [{"dropout": 1.0}, {"layer_drop": -0.1}, {"attention_dropout": 3.0}])
def test_nothing_drops_more_than_everything(wrong: dict[str, float]) -> None:
    check_shares(transformer.Config(dropout=0.0, layer_drop=0.999))
    (name,) = wrong
    with pytest.raises(UserError, match=f"`{name}` must be at least 0 and below 1, but is {wrong[name]}"):
        check_shares(transformer.Config(**wrong))  # type: ignore[arg-type]


def test_a_teacher_listens_to_a_layer_that_the_round_before_has() -> None:
    def check(*teachers: object) -> None:
        previous = gru.build(gru.Config(layers=5, dim=8), 6)
        check_teachers(dataclasses.replace(a_round(Config(teachers=teachers), previous), previous=previous))

    check(kmeans.Config(model="previous", layer=5))
    with pytest.raises(UserError, match=r"\$\.teachers\[0\]\.layer: `layer` must be 0 to 5, .* but is 6"):
        check(kmeans.Config(model="previous", layer=6))
    check(hidden.Config(model="previous", layers=(0, 5)), hidden.Config(model="previous"))
    with pytest.raises(UserError, match=r"\$\.teachers\[0\]\.layers: `layers` must be 0 to 5, .* but is 6"):
        check(hidden.Config(model="previous", layers=(5, 6)))


def test_masks_that_are_compared_must_be_drawn() -> None:
    check_conditions(
        a_round(Config(objectives=(clip_contrast.Config(), cpc.Config()), mask=Mask(clones=2)), Forwards())
    )
    with pytest.raises(UserError, match=r"`mask\.clones` must be at least 2, but is 1") as raised:
        check_conditions(a_round(Config(objectives=(cpc.Config(), clip_contrast.Config())), Forwards()))
    assert raised.value.where == "$.objectives[1]"
    assert raised.value.remedy == "give mask.clones=2"


def test_what_fills_in_needs_a_mask() -> None:
    check_conditions(a_round(Config(objectives=(contrastive.Config(),)), Forwards(late=2)))
    with pytest.raises(UserError, match="contrastive needs frames hidden from the encoder, but `mask` is null"):
        check_conditions(a_round(Config(objectives=(contrastive.Config(),), mask=None), Forwards()))
