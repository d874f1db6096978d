from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.pretrain.objectives import cpc
from tests.objectives.views import assert_runs_in_bfloat16, assert_sums_over_clips, make_view, rows, shape


def setup(lengths=(40, 33, 5), **options):
    torch.manual_seed(0)
    options = {"steps": 6, "negatives": 20, "heads": 2, "dropout": 0.0, **options}
    width = 16 if options.get("predictor") == "cpc_audio" else 12
    return cpc.build(cpc.Config(**options), shape(16, width), None), make_view(lengths, masked=False)


@pytest.mark.parametrize("predictor", ["linear", "transformer"])
def test_loss_is_infonce_frame_by_frame_and_step_by_step(predictor):
    module, view = setup(predictor=predictor)
    output = module(view)
    context, negatives = module.context(view.hidden[-1]), module.draw(view)
    expected, pairs = 0.0, 0
    for clip, frames in enumerate(view.frames.tolist()):
        for frame in range(frames):
            for ahead in range(1, 7):
                if frame + ahead >= frames:
                    continue
                others = [n for n in negatives[clip, frame].tolist() if n != frame + ahead]
                candidates = view.features[clip, [frame + ahead, *others]]
                predicted = module.steps[ahead - 1](context[clip, frame])
                logits = (predicted * candidates).mean(-1)
                expected = expected + F.cross_entropy(logits[None], torch.tensor([0]))
                pairs += 1
    torch.testing.assert_close(output.loss_sum, expected / 6, rtol=1e-4, atol=1e-3)
    assert float(output.count) == pytest.approx(pairs / 6)
    assert int(output.metrics["accuracy"][1]) == pairs


def test_each_step_has_a_predictor_and_frames_whose_steps_do_not_all_lie_in_the_clip_predict_nothing():
    module, view = setup(predictor="cpc_audio")
    view = replace(view, features=view.features.repeat(1, 1, 2)[..., :16])
    output = module(view)
    negatives, expected = module.draw(view), 0.0
    for clip, frames in enumerate(view.frames.tolist()):
        for frame in range(frames - 6):
            for ahead, step in enumerate(module.steps, 1):
                predicted = step(view.hidden[-1][clip : clip + 1, : frame + 1])[0, -1]
                others = [n for n in negatives[clip, frame].tolist() if n != frame + ahead]
                logits = (predicted * view.features[clip, [frame + ahead, *others]]).mean(-1)
                expected = expected + F.cross_entropy(logits[None], torch.tensor([0]))
    assert float(output.count) == 34 + 27
    torch.testing.assert_close(output.loss_sum, expected / 6, rtol=1e-4, atol=1e-3)
    assert_sums_over_clips(module, view)
    assert_runs_in_bfloat16(module, view)


def test_negatives_are_frames_of_the_clip():
    module, view = setup()
    negatives = module.draw(view)
    for clip, frames in enumerate(view.frames.tolist()):
        assert int(negatives[clip, :frames].max()) < frames
        assert len(negatives[clip, :frames].unique()) == frames


@pytest.mark.parametrize("predictor", ["linear", "transformer"])
def test_the_context_of_a_frame_knows_no_later_frame(predictor):
    module, view = setup(predictor=predictor)
    hidden = view.hidden[-1]
    changed = torch.cat([hidden[:, :15], torch.randn(3, 25, 16)], 1)
    one, two = module.context(hidden), module.context(changed)
    torch.testing.assert_close(one[:, :15], two[:, :15])
    assert not torch.allclose(one[:, 15:], two[:, 15:])


@pytest.mark.parametrize("predictor", ["linear", "transformer"])
def test_it_adds_up_over_clips_and_runs_in_bfloat16(predictor):
    module, view = setup(predictor=predictor)
    assert_sums_over_clips(module, view)
    assert_runs_in_bfloat16(module, view)


def test_clips_with_few_frames_are_taken():
    module, view = setup()
    # Five frames and six steps: the last steps have no pair, and their weights a gradient of zero.
    output = module(rows(view, 2))
    assert float(output.count) == pytest.approx((4 + 3 + 2 + 1) / 6)
    output.loss_sum.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())
    module, view = setup((1,))
    output = module(view)
    assert float(output.loss_sum.detach()) == float(output.count) == 0


def test_features_learn_too():
    module, view = setup()
    view.features.requires_grad_()
    module(view).loss_sum.backward()
    assert float(view.features.grad.abs().max()) > 0


def test_a_predictable_signal_is_learnt():
    module, view = setup((60, 60, 60), predictor="linear", steps=3)
    time = torch.arange(60.0)[:, None]
    wave = torch.cat([torch.sin(0.37 * time + torch.arange(6)), torch.cos(0.11 * time + torch.arange(6))], -1)
    view = replace(view, features=wave.expand(3, -1, -1), hidden=[F.pad(wave, (0, 4)).expand(3, -1, -1)])
    optimizer = torch.optim.Adam(module.parameters(), 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        output = module(view)
        output.loss_sum.backward()
        optimizer.step()
    correct, pairs = output.metrics["accuracy"]
    assert int(correct) > 0.8 * int(pairs)


def test_bad_settings_are_refused():
    with pytest.raises(UserError, match="`heads` must divide the encoder's width 16, but is 3"):
        setup(heads=3)
    with pytest.raises(UserError, match="needs an encoder as wide as the frontend's 12, but it is 16"):
        cpc.build(cpc.Config(predictor="cpc_audio"), shape(16, 12), None)
    with pytest.raises(UserError, match="`steps` must be at least 1, but is 0"):
        setup(steps=0)
