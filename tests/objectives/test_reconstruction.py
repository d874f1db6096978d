import pytest
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.pretrain.objectives import reconstruction
from audio_ssl.targets.spec import TargetSpec
from tests.objectives.views import (
    assert_empty_is_zero,
    assert_runs_in_bfloat16,
    assert_sums_over_clips,
    make_view,
    shape,
)

GRID = FrameGrid(16000, 320, 320, "center")


def test_loss_is_the_mean_square_over_bins_summed_over_masked_frames():
    module = reconstruction.build(reconstruction.Config(), shape(4, 12), TargetSpec("values", 6, None, GRID))
    generator = torch.Generator().manual_seed(0)
    view = make_view((9, 7), 4, targets=torch.randn(2, 9, 6, generator=generator))
    output = module(view)
    expected = sum(
        (module.projection(view.hidden[-1][b, t]) - view.targets[b, t]).square().mean()
        for b, t in view.mask.nonzero().tolist()
    )
    torch.testing.assert_close(output.loss_sum, expected)
    total, count = output.metrics["cqt_mse"]
    assert float(total / count) == pytest.approx(float(expected.detach()) / int(view.mask.sum()), rel=1e-5)


def test_it_adds_up_over_clips_runs_in_bfloat16_and_takes_clips_without_masked_frames():
    module = reconstruction.build(reconstruction.Config(), shape(16, 12), TargetSpec("values", 6, None, GRID))
    view = make_view(targets=torch.randn(3, 40, 6, generator=torch.Generator().manual_seed(0)))
    assert_sums_over_clips(module, view)
    assert_runs_in_bfloat16(module, view)
    assert_empty_is_zero(module, view)


def test_visible_frames_count_with_a_weight_of_their_own_and_padding_never():
    target = TargetSpec("values", 6, None, GRID)
    plain = reconstruction.build(reconstruction.Config(), shape(4, 12), target)
    module = reconstruction.build(reconstruction.Config(unmasked_weight=0.5), shape(4, 12), target)
    module.load_state_dict(plain.state_dict())
    view = make_view((9, 7), 4, targets=torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0)))
    visible = [(b, t) for b, frames in enumerate((9, 7)) for t in range(frames) if not view.mask[b, t]]
    more = sum((module.projection(view.hidden[-1][b, t]) - view.targets[b, t]).square().mean() for b, t in visible)
    output = module(view)
    torch.testing.assert_close(output.loss_sum, plain(view).loss_sum + 0.5 * more)
    assert output.count == plain(view).count
    assert output.metrics["cqt_mse"] == plain(view).metrics["cqt_mse"]
    total, count = output.metrics["unmasked_cqt_mse"]
    assert float(total / count) == pytest.approx(float(more.detach()) / len(visible), rel=1e-5)


def test_a_weight_below_zero_is_refused():
    with pytest.raises(UserError, match="`unmasked_weight` must not be negative, but is -1"):
        reconstruction.build(
            reconstruction.Config(unmasked_weight=-1), shape(4, 12), TargetSpec("values", 6, None, GRID)
        )


def test_a_teacher_of_codes_is_refused():
    with pytest.raises(UserError, match="needs a teacher of values, but teacher 0 gives codes"):
        reconstruction.build(reconstruction.Config(), shape(4, 12), TargetSpec("codes", 1, 3, GRID))
