"""DistilHuBERT's loss, beside its formula written out."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.pretrain.objectives import l1_cosine
from audio_ssl.targets.spec import TargetSpec
from tests.objectives.views import (
    assert_empty_is_zero,
    assert_runs_in_bfloat16,
    assert_sums_over_clips,
    make_view,
    shape,
)

SPEC = TargetSpec("values", 15, None, FrameGrid(16000, 320, 400), 3)


def setup(masked=False, **settings):
    torch.manual_seed(0)
    module = l1_cosine.build(l1_cosine.Config(**settings), shape(16, 12), SPEC)
    return module, make_view(targets=torch.randn(3, 40, 15), masked=masked)


@pytest.mark.parametrize("cosine", [1.0, 0.0, 2.5])
@torch.no_grad()
def test_loss_is_the_formula_of_the_paper_over_its_layers(cosine):
    module, view = setup(cosine=cosine)
    output = module(view)
    total = 0.0
    for clip, frames in enumerate(view.frames.tolist()):
        for frame in range(frames):
            for layer in range(3):
                wanted = view.targets[clip, frame, 5 * layer : 5 * layer + 5].double()
                first, second = module.heads[layer][0], module.heads[layer][2]
                inner = nn.functional.gelu(first.weight @ view.hidden[-1][clip, frame] + first.bias)
                found = (second.weight @ inner + second.bias).double()
                similar = float(found @ wanted / (found.norm() * wanted.norm()))
                total += float((found - wanted).abs().sum()) / 5 - cosine * math.log(1 / (1 + math.exp(-similar)))
    assert float(output.loss_sum) == pytest.approx(total / 3, rel=1e-5)
    assert int(output.count) == int(view.frames.sum())
    mean = sum(float(output.metrics[f"l1_{layer}"][0] / output.count) for layer in range(3)) / 3
    similar = [output.metrics[f"cosine_{layer}"] for layer in range(3)]
    assert all(-1 <= float(one / count) <= 1 for one, count in similar)
    if cosine == 0:
        assert mean == pytest.approx(total / 3 / int(output.count), rel=1e-5)


def test_each_layer_may_be_predicted_from_a_layer_of_its_own_by_a_linear_head():
    module, view = setup(head="linear", layers=(1, 3, 3))
    output = module(view)
    output.loss_sum.backward()
    terms = 0.0
    for number, layer in enumerate((1, 3, 3)):
        absolute, cosine = l1_cosine.compared(
            module.heads[number](view.hidden[layer][view.inside]),
            view.targets[view.inside][:, 5 * number : 5 * number + 5],
        )
        terms = terms + (absolute - nn.functional.logsigmoid(cosine)).sum() / 3
    torch.testing.assert_close(output.loss_sum, terms)
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_where_frames_are_hidden_these_count():
    module, view = setup(masked=True)
    assert int(module(view).count) == int(view.mask.sum()) < int(view.frames.sum())


def test_it_adds_up_over_clips_runs_in_bfloat16_and_takes_clips_without_a_frame_that_counts():
    module, view = setup()
    assert_sums_over_clips(module, view)
    assert_runs_in_bfloat16(module, view)
    assert_empty_is_zero(*setup(masked=True))


def test_what_does_not_fit_is_refused():
    for wrong, message in (
        ({"head": "deep"}, "`head` must be"),
        ({"cosine": -1.0}, "`cosine` must not be negative, but is -1.0"),
        ({"layers": (1, 2)}, "`layers` must name a hidden state for each of the 3 layers of teacher 0, but has 2"),
        ({"layers": (1, 2, 4)}, r"`layers` must be hidden states of the student, 0 to 3, but is \[1, 2, 4\]"),
    ):
        with pytest.raises(UserError, match=message):
            setup(**wrong)
    with pytest.raises(UserError, match="with a `decoder` the encoder never sees these"):
        config = l1_cosine.Config(layers=(1, 2, 3))
        l1_cosine.build(config, replace(shape(16, 12), decoded=True), SPEC)
    with pytest.raises(UserError, match="l1_cosine needs a teacher of values, but teacher 0 gives codes"):
        l1_cosine.build(l1_cosine.Config(), shape(16, 12), TargetSpec("codes", 1, 3, SPEC.grid))
