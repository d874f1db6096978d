import pytest
import torch

from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.targets import TargetSpec
from audio_ssl.errors import UserError
from audio_ssl.objectives import reconstruction

GRID = FrameGrid(16000, 320, 320, "center")


def test_loss_is_the_mean_square_over_bins_summed_over_masked_frames():
    module = reconstruction.build(reconstruction.Config(), 4, TargetSpec("values", 6, None, GRID))
    generator = torch.Generator().manual_seed(0)
    hidden, targets = torch.randn(2, 9, 4, generator=generator), torch.randn(2, 9, 6, generator=generator)
    mask = torch.rand(2, 9, generator=generator) < 0.5
    output = module(hidden, targets, mask)
    expected = sum(
        (module.projection(hidden[b, t]) - targets[b, t]).square().mean() for b, t in mask.nonzero().tolist()
    )
    torch.testing.assert_close(output.loss_sum, expected)
    total, count = output.metrics["cqt_mse"]
    assert float(total / count) == pytest.approx(float(expected.detach()) / int(mask.sum()), rel=1e-5)


def test_a_teacher_of_codes_is_refused():
    with pytest.raises(UserError, match="needs a teacher of values, but teacher 0 gives codes"):
        reconstruction.build(reconstruction.Config(), 4, TargetSpec("codes", 1, 3, GRID))
