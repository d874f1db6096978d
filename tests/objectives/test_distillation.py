import pytest
import torch
from torch import nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.pretrain.objectives import distillation
from audio_ssl.targets.spec import TargetSpec
from tests.objectives.views import (
    assert_empty_is_zero,
    assert_runs_in_bfloat16,
    assert_sums_over_clips,
    make_view,
    shape,
)

SPEC = TargetSpec("values", 9, None, FrameGrid(16000, 320, 400))


def setup():
    torch.manual_seed(0)
    module = distillation.build(distillation.Config(), shape(16, 12), SPEC)
    return module, make_view(targets=torch.randn(3, 40, 9))


def test_loss_and_spread_are_fairseq_s():
    module, view = setup()
    output = module(view)
    x, y = module.projection(view.hidden[-1][view.mask]), view.targets[view.mask]
    torch.testing.assert_close(output.loss_sum, F.mse_loss(x, y, reduction="none").sum(-1).div(9**0.5).sum())
    for name, rows in (("target_variance", y), ("prediction_variance", x.detach())):
        total, count = output.metrics[name]
        torch.testing.assert_close(total / count, torch.sqrt(rows.var(dim=0) + 1e-6).mean())
    assert int(output.count) == int(view.mask.sum())


def test_without_a_projection_the_last_state_is_the_prediction():
    spec = TargetSpec("values", 16, None, SPEC.grid)
    module = distillation.build(distillation.Config(projection=False), shape(16, 12), spec)
    assert not list(module.parameters())
    view = make_view(targets=torch.randn(3, 40, 16))
    expected = F.mse_loss(view.hidden[-1][view.mask], view.targets[view.mask], reduction="none").sum() / 4
    torch.testing.assert_close(module(view).loss_sum, expected)
    with pytest.raises(UserError, match="a hidden state must have the 9 values of teacher 0, but has 16"):
        distillation.build(distillation.Config(projection=False), shape(16, 12), SPEC)


def test_a_collapsed_prediction_shows():
    module, view = setup()
    nn.init.zeros_(module.projection.weight)
    total, count = module(view).metrics["prediction_variance"]
    assert float(total / count) < 0.01
    total, count = module(view).metrics["target_variance"]
    assert float(total / count) > 0.5


def test_it_adds_up_over_clips_runs_in_bfloat16_and_takes_clips_without_masked_frames():
    module, view = setup()
    assert_sums_over_clips(module, view)
    assert_runs_in_bfloat16(module, view)
    assert_empty_is_zero(module, view)


def test_a_teacher_of_codes_is_refused():
    with pytest.raises(UserError, match="distillation needs a teacher of values, but teacher 0 gives codes"):
        distillation.build(distillation.Config(), shape(16, 12), TargetSpec("codes", 1, 3, SPEC.grid))
