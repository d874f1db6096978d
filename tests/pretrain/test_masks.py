"""Masks of blocks, noise in the place of hidden frames, and against the statistics of MuQ's own code."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import nn

from audio_ssl.base.errors import UserError
from audio_ssl.base.seeds import generator
from audio_ssl.models.encoders import conformer
from audio_ssl.models.frontends import mel
from audio_ssl.models.model import ModelConfig, build_model
from audio_ssl.models.padding import HiddenNoise
from audio_ssl.pretrain.checks import check_fill
from audio_ssl.pretrain.decoder import DecoderSizes
from audio_ssl.pretrain.kinds.masked_prediction import Config
from audio_ssl.pretrain.learner import MaskedLearner
from audio_ssl.pretrain.masking import Mask, draw_masks, hidden_noise
from tests.pretrain.rounds import a_round
from tests.pretrain.test_masked import make_batch, make_learner
from tests.reference import golden

BLOCKS = Mask(prob=0.6, length_frames=10, blocks=True)


def test_blocks_hide_what_muq_hides() -> None:
    theirs = golden("mask_statistics")
    share = theirs["muq/blocks/share_per_row"].double()
    mask = draw_masks(torch.full((2000,), 750), 750, BLOCKS, range(2000))
    error = float(share.std()) / 2000**0.5
    assert abs(float(mask.double().mean()) - float(share.mean())) < 4 * 2**0.5 * error
    assert float(mask.double().mean(1).std()) == pytest.approx(float(share.std()), rel=0.1)
    # Whole blocks and nothing between.
    assert (mask.view(2000, 75, 10).sum(2) % 10 == 0).all()
    runs = (mask[:, 1:] & ~mask[:, :-1]).sum(1) + mask[:, 0]
    mean, spread = theirs["muq/blocks/runs_per_row"].double().mean(), theirs["muq/blocks/runs_per_row"].double().std()
    assert abs(float(runs.double().mean() - mean)) < 4 * 2**0.5 * float(spread) / 2000**0.5


@pytest.mark.parametrize("prob", [0.01, 0.6, 1.0])
@pytest.mark.parametrize("frames", [0, 1, 2, 5, 19, 20, 45])
def test_something_is_hidden_and_something_is_left(prob: float, frames: int) -> None:
    mask = draw_masks(torch.full((30,), frames), 50, replace(BLOCKS, prob=prob), range(30))
    hidden = mask.sum(1)
    assert not mask[:, frames:].any()
    assert not mask[:, max(20, frames // 10 * 10) :].any()
    assert ((hidden > 0) & (hidden < frames)).all() if frames > 1 else not hidden.any()


def test_noise_depends_on_the_crop_alone() -> None:
    mask = draw_masks(torch.tensor([40, 25, 30]), 40, BLOCKS, (7, 8, 9))
    noise = hidden_noise(mask, 6, 0.1, (7, 8, 9))
    alone = hidden_noise(mask[1:2, :25], 6, 0.1, (8,))
    assert torch.equal(noise.values[1, :25], alone.values[0])
    assert torch.equal(noise.row(1, 25).values, alone.values)
    assert not noise.values[~mask].any()
    assert float(noise.values[mask].std()) == pytest.approx(0.1, rel=0.15)
    assert not torch.equal(noise.values[0][mask[0]][0], noise.values[2][mask[2]][0])


def test_trimming_is_refused_where_no_spans_are_drawn() -> None:
    with pytest.raises(UserError, match="`trim_frames` trims spans, which `blocks` does not draw"):
        replace(BLOCKS, trim_frames=400).check("$.mask")
    with pytest.raises(UserError, match="`trim_frames` trims spans, which `adjust` does not draw"):
        Mask(prob=0.5, adjust=0.05, trim_frames=400).check("$.mask")
    with pytest.raises(UserError, match="must be at least 1, but is 0"):
        Mask(trim_frames=0).check("$.mask")


@pytest.mark.parametrize("samples", [35, 40, 47])
def test_noise_takes_the_samples_of_hidden_frames_and_no_others(samples: int) -> None:
    mask = torch.tensor([[True, False, False, True]])
    noise = HiddenNoise(mask, torch.full((1, 4, 10), 5.0) * mask[..., None])
    filled = noise.put(torch.zeros(1, samples))
    assert filled.shape == (1, samples)
    assert filled[0].nonzero()[:, 0].tolist() == [*range(10), *range(30, min(40, samples))]


def noisy_learner(fill: str, **frontend: object) -> MaskedLearner:
    config = mel.Config(n_mels=20, normalize=False, **frontend)  # type: ignore[arg-type]
    encoder = conformer.Config(layers=1, dim=16, ffn_dim=16, heads=2, dropout=0.0, input_dropout=0.0)
    model = build_model(ModelConfig(config, encoder, 16000), generator(1))
    mask = Mask(prob=0.6, length_frames=3, blocks=True, fill=fill)  # type: ignore[arg-type]
    return MaskedLearner(model, [], mask, None, 0.0, 1.0)


@pytest.mark.parametrize("fill", ["waveform_noise", "feature_noise"])
@pytest.mark.parametrize("frontend", [{"stack": 4}, {"stack": 1, "conv_channels": (4, 2)}])
def test_hidden_audio_has_no_influence_and_visible_audio_has(fill: str, frontend: dict[str, object]) -> None:
    learner = noisy_learner(fill, **frontend).eval()
    grid = learner.model.grid
    lengths = torch.tensor([16000, 12000])
    waveform = torch.randn(2, 16000, generator=generator(2))
    frames = grid.num_frames(lengths)
    assert learner._mask is not None
    mask = draw_masks(frames, int(frames.max()), learner._mask, (5, 6))
    with torch.no_grad():
        found = learner._encode(waveform, lengths, mask, (5, 6))[0]
        single = learner._encode(waveform[1:, :12000], lengths[1:], mask[1:, : int(frames[1])], (6,))[0]
        plain = learner.model(waveform, lengths)
        learner._mask = replace(learner._mask, noise_std=0.2)
        louder = learner._encode(waveform, lengths, mask, (5, 6))[0]
    torch.testing.assert_close(found.hidden[-1][1, : int(frames[1])], single.hidden[-1][0], atol=1e-5, rtol=1e-4)
    changed = (found.features - plain.features).abs().amax(-1) > 1e-4
    assert changed[mask].all()
    # Windows reach a few frames further; what is far from any hidden frame stays.
    near = torch.nn.functional.max_pool1d(mask[:, None].float(), 5, 1, 2)[:, 0] > 0
    assert not changed[~near].any()
    assert not torch.equal(found.features, louder.features)
    assert not learner.model.encoder.mask_embedding.requires_grad  # type: ignore[union-attr]


def test_what_cannot_be_filled_is_refused() -> None:
    with pytest.raises(UserError, match="`clones` must be 1 where `fill` is feature_noise"):
        Mask(fill="feature_noise", clones=2).check("$.mask")
    with pytest.raises(UserError, match="exclude each other"):
        Mask(blocks=True, prob=0.5, adjust=0.1).check("$.mask")
    with pytest.raises(UserError, match="must not be negative"):
        Mask(noise_std=-1.0).check("$.mask")

    def check(fill: Literal["waveform_noise", "feature_noise"], decoder: DecoderSizes | None = None) -> None:
        check_fill(a_round(Config(mask=Mask(fill=fill), decoder=decoder), nn.Identity()))

    with pytest.raises(UserError, match=r"needs a frontend with a spectrogram, but `conv`"):
        check("feature_noise")
    with pytest.raises(UserError, match="`fill: waveform_noise` would do nothing"):
        check("waveform_noise", DecoderSizes())
    check("waveform_noise")


def test_a_teacher_that_follows_the_model_hears_the_clean_clip() -> None:
    learner = make_learner()
    assert learner._mask is not None
    seen: list[object] = []
    learner._targets = lambda batch, features, times: seen.append(features) or list(batch.targets)  # type: ignore[method-assign,func-returns-value,assignment]
    learner(make_batch(), generator(3), 0)
    learner._mask = replace(learner._mask, fill="waveform_noise")
    learner(make_batch(), generator(3), 0)
    assert seen[0] is not None
    assert seen[1] is None
