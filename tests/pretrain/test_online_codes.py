"""Learners whose teacher clusters online: what its codebooks count, and what a skipped or late update leaves alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from audio_ssl.base.seeds import generator, seeded
from audio_ssl.data.loader import Batch
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, build_model
from audio_ssl.pretrain.decoder import DecoderSizes, build_decoder
from audio_ssl.pretrain.learner import MaskedLearner, ObjectiveHead
from audio_ssl.pretrain.masking import Mask, clone_keys, draw_masks
from audio_ssl.pretrain.objectives import masked_codes
from audio_ssl.pretrain.update import Updater
from audio_ssl.pretrain.view import ModelShape
from audio_ssl.targets.teachers import online_clustering
from tests.pretrain.test_masked import CPU, gradients, make_batch, rows
from tests.pretrain.toy import toy_recipe

MASK = Mask(prob=0.5, length_frames=3, clones=3)
DECODER = DecoderSizes(layers=1, dim=16, kernel_frames=3, groups=4, dropout=0.0)


def make_learner(
    mask: Mask | None = MASK,
    decoder: DecoderSizes | None = DECODER,
    freeze: int | None = None,
    layer_by_layer: bool = True,
    point: Any = "feed_forward",
) -> MaskedLearner:
    encoder = transformer.Config(
        layers=3, dim=32, ffn_dim=64, heads=2, dropout=0, attention_dropout=0, input_dropout=0, layer_drop=0
    )
    model = build_model(ModelConfig(conv.Config(channels=(16,) * 7), encoder, 16000), generator(1))
    with seeded(CPU, 1):
        teacher = online_clustering.build_online(online_clustering.Config(layers=2, codebook_size=6), model)
        config = masked_codes.Config(head="linear", layer_by_layer=layer_by_layer, point=point)
        head = masked_codes.build(config, ModelShape(32, 16, layers=2), teacher.spec)
        part = None if decoder is None else build_decoder(decoder, 32, head.depth)
    heads = [ObjectiveHead(head, 0, 1.0, "online_clustering")]
    return MaskedLearner(model, heads, mask, None, 0.0, 1.0, {0: teacher}, part, freeze)


def clips() -> Batch:
    return make_batch()._replace(targets=())


def codebooks(learner: MaskedLearner) -> Any:
    return learner.online["0"].codebooks


@pytest.mark.parametrize("mask", [MASK, replace(MASK, clones=1), None])
def test_each_masked_frame_of_each_clone_counts_for_the_codebooks(mask: Mask | None) -> None:
    learner, batch = make_learner(mask, None), clips()
    output = learner(batch, generator(3), 0)
    counted = codebooks(learner)._counts
    assert counted.sum(1).tolist() == [float(output.count)] * 2
    total = int(batch.frames.max())
    if mask is None:
        hidden = torch.arange(total) < batch.frames[:, None]
    else:
        keys = clone_keys(batch.keys, mask.clones)
        hidden = draw_masks(batch.frames.repeat_interleave(mask.clones), total, mask, keys)
        hidden = hidden.unflatten(0, (-1, mask.clones)).sum(1)
    codes = learner.online["0"](batch.waveform, batch.lengths)
    for book in range(2):
        expected = torch.bincount(codes[..., book].flatten(), hidden.flatten().float(), minlength=6)
        torch.testing.assert_close(counted[book], expected)


@pytest.mark.parametrize("decoder", [DECODER, None])
@pytest.mark.parametrize(("layer_by_layer", "point"), [(True, "feed_forward"), (True, "output"), (False, "output")])
def test_gradients_and_codebooks_do_not_depend_on_the_split(
    decoder: DecoderSizes | None, layer_by_layer: bool, point: str
) -> None:
    batch = clips()
    whole, split = (make_learner(MASK, decoder, None, layer_by_layer, point) for _ in range(2))
    (output,), expected = gradients(whole, batch)
    outputs, found = gradients(split, rows(batch, 2, 4), rows(batch, 0, 1), rows(batch, 1, 2))
    torch.testing.assert_close(sum(part.loss_sum for part in outputs), output.loss_sum, rtol=1e-4, atol=1e-3)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-3 * scale + 1e-5, msg=name)
    for learner in (whole, split):
        learner.after_update(0, lambda x: x)
    torch.testing.assert_close(codebooks(split).codes, codebooks(whole).codes, rtol=1e-4, atol=1e-5)
    assert not torch.equal(codebooks(whole).sizes, torch.ones(2, 6))


def test_validation_counts_nothing() -> None:
    learner = make_learner().eval()
    output = learner(clips(), generator(3), 0)
    assert not codebooks(learner)._counts.any()
    assert not any(name.startswith("code_usage") for name in output.metrics)


def test_a_skipped_update_leaves_codebooks_and_teacher() -> None:
    learner, batch = make_learner(), clips()
    updater = Updater(learner, toy_recipe(), 4, CPU)
    updater.add(batch, 0)
    done = updater.finish(0)
    assert done is not None
    assert done.changed
    before = everything(learner)
    assert not torch.equal(codebooks(learner).sizes, torch.ones(2, 6))
    updater.add(batch, 1)
    assert codebooks(learner)._counts.any()
    updater.add(batch._replace(waveform=batch.waveform * torch.inf), 1)
    done = updater.finish(1)
    assert done is not None
    assert not done.changed
    assert all(torch.equal(value, before[name]) for name, value in everything(learner).items())


def test_a_frozen_frontend_stays_and_all_else_learns() -> None:
    learner, batch = make_learner(freeze=1), clips()
    updater = Updater(learner, toy_recipe(), 4, CPU)
    moved = []
    for step in range(2):
        before = everything(learner)
        updater.add(batch, step)
        updater.finish(step)
        after = everything(learner)
        moved.append({name for name, value in after.items() if not torch.equal(value, before[name])})
    stayed = {name.removeprefix("model.") for name in moved[0] - moved[1] if name.startswith("model.")}
    assert {".".join(name.split(".")[: 1 + name.startswith("encoder")]) for name in stayed} == {
        "frontend",
        "encoder.feature_norm",
        "encoder.projection",
    }
    assert "model.encoder.blocks.0.query.weight" in moved[1]
    assert "heads.0.projections.0.weight" in moved[1]


def everything(learner: MaskedLearner) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in [*learner.named_parameters(), *learner.named_buffers()]}
