from dataclasses import replace

import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.pretrain.objectives import autoregressive
from audio_ssl.targets.spec import TargetSpec
from tests.objectives.views import assert_runs_in_bfloat16, assert_sums_over_clips, make_view, rows, shape

SPEC = TargetSpec("values", 9, None, FrameGrid(16000, 160, 400))


def setup(**options):
    torch.manual_seed(0)
    module = autoregressive.build(autoregressive.Config(**options), shape(16, 12), SPEC)
    return module, make_view((40, 33, 4), targets=torch.randn(3, 40, 9), masked=False)


def test_loss_is_the_absolute_error_of_the_frame_five_ahead():
    module, view = setup()
    output = module(view)
    expected, count = 0.0, 0
    for clip, frames in enumerate(view.frames.tolist()):
        for frame in range(frames - 5):
            predicted = module.projection(view.hidden[-1][clip, frame])
            expected = expected + (predicted - view.targets[clip, frame + 5]).abs().mean()
            count += 1
    torch.testing.assert_close(output.loss_sum, expected)
    assert int(output.count) == count == 35 + 28


@pytest.mark.parametrize("codes", [None, 6])
def test_it_adds_up_over_clips_and_runs_in_bfloat16(codes):
    module, view = setup(codes=codes)
    assert_sums_over_clips(module, view)
    assert_runs_in_bfloat16(module.eval(), view)


def test_a_clip_too_short_for_a_frame_ahead_adds_nothing():
    module, view = setup()
    alone = module(rows(view, 2))
    assert float(alone.loss_sum.detach()) == int(alone.count) == 0
    alone.loss_sum.backward()
    assert not module.projection.weight.grad.any()


def test_a_predictable_signal_is_learnt():
    module, view = setup(ahead_frames=3)
    time = torch.arange(40.0)
    # A rotation by a fixed angle: the future is a linear function of now.
    wave = torch.cat([torch.sin(0.3 * time[:, None] + torch.arange(8)), torch.zeros(40, 8)], -1)
    view = replace(view, hidden=[wave.expand(3, -1, -1)], targets=wave[:, :9].expand(3, -1, -1))
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(300):
        optimizer.zero_grad()
        output = module(view)
        output.loss_sum.backward()
        optimizer.step()
    assert float(output.loss_sum.detach() / output.count) < 0.05


def test_the_quantiser_says_how_many_codes_it_uses():
    module, view = setup(codes=6)
    total, count = module(view).metrics["code_perplexity"]
    assert 1 <= float(total / count) <= 6.01


def test_bad_settings_are_refused():
    with pytest.raises(UserError, match="autoregressive needs a teacher of values, but teacher 0 gives codes"):
        autoregressive.build(autoregressive.Config(), shape(16, 12), TargetSpec("codes", 1, 3, SPEC.grid))
    with pytest.raises(UserError, match="`ahead_frames` must be at least 1, but is 0"):
        setup(ahead_frames=0)
    with pytest.raises(UserError, match="`codes` must be at least 2 or null, but is 1"):
        setup(codes=1)
