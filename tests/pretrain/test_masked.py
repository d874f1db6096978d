from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audio_ssl.base.config import build
from audio_ssl.base.errors import UserError
from audio_ssl.base.seeds import generator, seeded
from audio_ssl.data.augment import Mixing
from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.loader import Batch
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, build_model
from audio_ssl.pretrain.learner import MaskedLearner, ObjectiveHead, StepOutput, penalty_sum
from audio_ssl.pretrain.masking import Mask, draw_masks
from audio_ssl.pretrain.objectives import autoregressive, contrastive, cpc, distillation, masked_codes, reconstruction
from audio_ssl.pretrain.view import ModelShape, Objective, ObjectiveOutput, View
from audio_ssl.targets.spec import TargetSpec
from audio_ssl.targets.teachers import ema

GRID = FrameGrid(16000, 320, 400)
CPU = torch.device("cpu")
SHAPE = ModelShape(32, 16, layers=2)


def make_learner(mixing: Mixing | None = None, penalty: float = 10.0, grad_mult: float = 0.1) -> MaskedLearner:
    frontend = conv.Config(channels=(16,) * 7)
    encoder = transformer.Config(
        layers=2, dim=32, ffn_dim=64, heads=2, dropout=0, attention_dropout=0, input_dropout=0, layer_drop=0
    )
    model = build_model(ModelConfig(frontend, encoder, 16000), generator(1))
    with seeded(CPU, 1):
        codes = masked_codes.build(masked_codes.Config(), SHAPE, TargetSpec("codes", 2, 5, GRID))
        values = reconstruction.build(reconstruction.Config(teacher=1), SHAPE, TargetSpec("values", 4, None, GRID))
    heads = [ObjectiveHead(codes, 0, 1.0, "rvq"), ObjectiveHead(values, 1, 2.0, "cqt")]
    return MaskedLearner(model, heads, Mask(length_frames=3), mixing, penalty, grad_mult)


def make_batch(lengths: tuple[int, ...] = (16000, 12000, 9000, 8000)) -> Batch:
    random = generator(2)
    frames = torch.tensor([GRID.num_frames(length) for length in lengths])
    waveform = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        waveform[row, :length] = torch.randn(length, generator=random)
    most = int(frames.max())
    codes = torch.randint(0, 5, (len(lengths), most, 2), generator=random)
    values = torch.randn(len(lengths), most, 4, generator=random)
    keys = tuple(range(100, 100 + len(lengths)))
    return Batch(waveform, torch.tensor(lengths), (codes, values), frames, keys, sum(lengths) / 16000)


def rows(batch: Batch, start: int, stop: int) -> Batch:
    part = slice(start, stop)
    samples, frames = int(batch.lengths[part].max()), int(batch.frames[part].max())
    return Batch(
        batch.waveform[part, :samples],
        batch.lengths[part],
        tuple(target[part, :frames] for target in batch.targets),
        batch.frames[part],
        batch.keys[part],
        0.0,
    )


def gradients(learner: MaskedLearner, *batches: Batch) -> tuple[list[StepOutput], dict[str, Tensor]]:
    learner.zero_grad()
    outputs = []
    for batch in batches:
        output = learner(batch, generator(3), 0)
        output.loss_sum.backward()
        outputs.append(output)
    return outputs, {n: p.grad.clone() for n, p in learner.named_parameters() if p.grad is not None}


def test_gradient_of_micro_batches_is_that_of_the_whole_batch() -> None:
    learner, batch = make_learner(), make_batch()
    (whole,), expected = gradients(learner, batch)
    parts, found = gradients(learner, rows(batch, 0, 1), rows(batch, 1, 3), rows(batch, 3, 4))
    assert sum(int(part.count) for part in parts) == int(whole.count) > 0
    torch.testing.assert_close(sum(part.loss_sum for part in parts), whole.loss_sum, rtol=1e-5, atol=1e-4)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4 * scale + 1e-5, msg=name)


@pytest.mark.parametrize("mask", [Mask(), Mask(trim_frames=200)])
def test_masks_depend_on_the_crop_alone_and_never_reach_past_its_frames(mask: Mask) -> None:
    frames = torch.tensor([40, 25, 30])
    together = draw_masks(frames, 50, mask, (7, 8, 9))
    for row, key in enumerate((7, 8, 9)):
        alone = draw_masks(frames[row : row + 1], 60, mask, (key,))
        assert torch.equal(alone[0, :50], together[row])
    assert not together[1, 25:].any()
    assert together.any(1).all()


def test_loss_is_the_weighted_sum_of_its_parts_per_masked_frame() -> None:
    output = make_learner()(make_batch(), generator(3), 0)
    parts = {name: float(total) / float(count) for name, (total, count) in output.metrics.items()}
    expected = parts["loss_rvq"] + 2.0 * parts["loss_cqt"] + 10.0 * parts["feature_penalty"]
    assert float(output.loss_sum.detach()) / float(output.count) == pytest.approx(expected, rel=1e-5)
    assert {"accuracy_0", "accuracy_1", "code_perplexity_0", "cqt_mse"} <= parts.keys()


def test_penalty_of_a_single_clip_is_masked_frames_times_mean_square() -> None:
    features = torch.randn(1, 20, 8, generator=generator(4))
    mask = torch.zeros(1, 20, dtype=torch.bool)
    mask[0, 3:9] = True
    expected = 6 * features.square().mean()
    torch.testing.assert_close(penalty_sum(features, torch.tensor([20]), mask), expected)
    padded = torch.cat([features, torch.full((1, 5, 8), 1e4)], 1)
    wide = torch.cat([mask, torch.zeros(1, 5, dtype=torch.bool)], 1)
    torch.testing.assert_close(penalty_sum(padded, torch.tensor([20]), wide), expected)


def test_frontend_gradients_are_scaled_and_no_others() -> None:
    batch = make_batch()
    _, scaled = gradients(make_learner(grad_mult=0.1), batch)
    _, full = gradients(make_learner(grad_mult=1.0), batch)
    for name, value in full.items():
        factor = 0.1 if name.startswith("model.frontend.") else 1.0
        torch.testing.assert_close(scaled[name], factor * value, rtol=1e-5, atol=1e-6)
    _, frozen = gradients(make_learner(grad_mult=0.0), batch)
    assert not any(name.startswith("model.frontend.") for name in frozen)


def test_mixing_changes_training_and_never_evaluation() -> None:
    batch, mixing = make_batch(), Mixing(prob=1.0, min_seconds=0.1, max_seconds=0.3)
    mixed, clean = make_learner(mixing), make_learner(None)
    assert not torch.equal(mixed(batch, generator(3), 0).loss_sum, clean(batch, generator(3), 0).loss_sum)
    mixed.eval()
    clean.eval()
    assert torch.equal(mixed(batch, generator(3), 0).loss_sum, clean(batch, generator(3), 0).loss_sum)


def test_targets_shorter_than_the_model_frames_limit_the_mask() -> None:
    batch = make_batch((16000, 16000))
    short = batch._replace(frames=torch.tensor([30, 30]), targets=tuple(t[:, :30] for t in batch.targets))
    learner = make_learner()
    output = learner(short, generator(3), 0)
    assert 0 < int(output.count) <= 60
    assert not draw_masks(short.frames, GRID.num_frames(16000), Mask(length_frames=3), short.keys)[:, 30:].any()


@pytest.mark.parametrize(
    ("mask", "match"),
    [(Mask(prob=0.0), "share above 0"), (Mask(length_frames=0), "at least 1"), (Mask(min_masks=0), "at least 1")],
)
def test_senseless_masks_are_refused(mask: Mask, match: str) -> None:
    with pytest.raises(UserError, match=match):
        mask.check("$.mask")


class Spy(Objective):
    """An objective that keeps what it sees."""

    def forward(self, view: View) -> ObjectiveOutput:
        self.view = view
        return ObjectiveOutput(view.hidden[-1].sum() * 0, view.counted.sum(), {})


def spied(mask: Mask | None, mixing: Mixing | None, online: bool = False) -> tuple[MaskedLearner, Spy]:
    model, spy = make_learner().model, Spy()
    teachers = {0: ema.build_online(ema.Config(layers=1), model)} if online else None
    head = ObjectiveHead(spy, 0 if online else None, 1.0, "spy")
    return MaskedLearner(model, [head], mask, mixing, 0.0, 1.0, teachers), spy


@pytest.mark.parametrize("snr_db", [None, (-5.0, 5.0)])
def test_a_teacher_that_follows_the_model_hears_the_clean_waveform(snr_db: tuple[float, float] | None) -> None:
    batch = make_batch()._replace(targets=())
    mixing = Mixing(prob=1.0, min_seconds=0.1, max_seconds=0.3, snr_db=snr_db)
    mixed, first = spied(Mask(length_frames=3), mixing, online=True)
    clean, second = spied(Mask(length_frames=3), None, online=True)
    mixed(batch, generator(3), 0)
    clean(batch, generator(3), 0)
    assert not torch.allclose(first.view.features, second.view.features)
    assert first.view.targets is not None
    assert second.view.targets is not None
    torch.testing.assert_close(first.view.targets, second.view.targets)
    mixed.eval()
    mixed(batch, generator(3), 0)
    torch.testing.assert_close(first.view.features, second.view.features)


def test_without_a_mask_nothing_is_hidden_and_all_frames_count() -> None:
    batch = make_batch()._replace(targets=())
    learner, spy = spied(None, None)
    output = learner(batch, generator(3), 5)
    assert spy.view.mask is None
    assert spy.view.targets is None
    assert spy.view.step == 5
    assert spy.view.keys == batch.keys
    assert int(output.count) == int(batch.frames.sum())
    expected = learner.model(batch.waveform, batch.lengths)
    torch.testing.assert_close(spy.view.hidden[-1], expected.hidden[-1])
    trained = {name for name, parameter in learner.named_parameters() if parameter.requires_grad}
    assert "model.encoder.mask_embedding" not in trained
    assert "model.encoder.projection.weight" in trained


def one_objective(name: str) -> MaskedLearner:
    model = make_learner().model
    online: dict[int, nn.Module] = {}
    config: object
    with seeded(CPU, 1):
        if name == "contrastive":
            config = contrastive.Config(
                codebook_size=8, code_dim=16, final_dim=16, negatives=10, diversity_weight=0.0, feature_dropout=0.0
            )
        elif name == "cpc":
            config = cpc.Config(steps=3, negatives=10, heads=2, dropout=0.0)
        elif name == "autoregressive":
            config = autoregressive.Config(teacher=1, codes=7)
        else:
            config = distillation.Config()
            online = {0: ema.build_online(ema.Config(layers=2), model)}
        spec = TargetSpec("values", 32 if online else 4, None, GRID)
        module = build(config, SHAPE, spec)
    index = None if name in ("contrastive", "cpc") else 0 if online else 1
    mask = Mask(length_frames=3) if name in ("contrastive", "distillation") else None
    return MaskedLearner(model, [ObjectiveHead(module, index, 1.0, name)], mask, None, 10.0, 0.1, online)


@pytest.mark.parametrize("name", ["contrastive", "cpc", "autoregressive", "distillation"])
def test_gradients_do_not_depend_on_the_split_with_any_objective(name: str) -> None:
    learner, batch = one_objective(name), make_batch()
    if name == "distillation":
        batch = batch._replace(targets=())
    (whole,), expected = gradients(learner, batch)
    parts, found = gradients(learner, rows(batch, 2, 4), rows(batch, 0, 1), rows(batch, 1, 2))
    assert float(whole.count) > 0
    torch.testing.assert_close(sum(part.count for part in parts), whole.count)
    torch.testing.assert_close(sum(part.loss_sum for part in parts), whole.loss_sum, rtol=1e-4, atol=1e-3)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-3 * scale + 1e-5, msg=key)
