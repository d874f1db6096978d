import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import FrameGrid
from audio_ssl.pretrain.objectives import masked_codes
from audio_ssl.targets.spec import TargetSpec
from tests.objectives.views import (
    assert_empty_is_zero,
    assert_runs_in_bfloat16,
    assert_sums_over_clips,
    make_view,
    shape,
)

GRID = FrameGrid(16000, 320, 400)


def setup(head="cosine", codebooks=3, classes=11, dim=16, frames=40, **options):
    torch.manual_seed(0)
    spec = TargetSpec("codes", codebooks, classes, GRID)
    module = masked_codes.build(masked_codes.Config(head=head, final_dim=8, **options), shape(dim, 12), spec)
    lengths = (frames, frames - 7, frames // 2)
    return module, make_view(lengths, dim, targets=torch.randint(classes, (3, frames, codebooks)))


def test_loss_is_hubert_s_formula():
    module, view = setup()
    hidden, targets, mask = view.hidden[-1], view.targets, view.mask
    output = module(view)
    projected = module.projection(hidden[mask]).view(-1, 3, 8)
    expected = sum(
        F.cross_entropy(
            F.cosine_similarity(projected[:, k, None], module.codes[k][None], dim=-1) / 0.1,
            targets[mask][:, k],
            reduction="sum",
        )
        for k in range(3)
    )
    torch.testing.assert_close(output.loss_sum, expected, rtol=1e-5, atol=1e-4)
    assert int(output.count) == int(mask.sum())


@pytest.mark.parametrize("head", ["cosine", "linear"])
def test_metrics_are_sums_and_counts(head):
    module, view = setup(head)
    targets, mask = view.targets, view.mask
    metrics = module(view).metrics
    frames = int(mask.sum())
    for k in range(3):
        correct, count = metrics[f"accuracy_{k}"]
        assert int(count) == frames
        assert 0 <= int(correct) <= frames
        total, count = metrics[f"code_perplexity_{k}"]
        codes = targets[mask][:, k]
        share = torch.bincount(codes).float() / len(codes)
        share = share[share > 0]
        assert float(total / count) == pytest.approx(math.exp(-(share * share.log()).sum()), rel=1e-4)


def test_unmasked_frames_have_no_influence():
    module, view = setup()
    last = view.hidden[-1]
    changed = replace(view, hidden=[torch.where(view.mask[..., None], last, last + 5)])
    assert torch.equal(module(view).loss_sum, module(changed).loss_sum)


def test_no_tensor_of_frames_by_classes_by_dim_is_kept():
    module, view = setup(classes=200, frames=200)
    largest = 0

    def pack(tensor):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        module(view)
    frames = int(view.mask.sum())
    assert largest <= 2 * frames * 200
    assert largest < frames * 200 * 8


def test_learning_reaches_certainty_on_a_toy():
    module, view = setup(classes=5, codebooks=1)
    module.projection = torch.nn.Linear(16, 8)
    view = replace(view, hidden=[F.one_hot(view.targets[..., 0], 16).float()])
    optimizer = torch.optim.Adam(module.parameters(), 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        output = module(view)
        output.loss_sum.backward()
        optimizer.step()
    correct, count = output.metrics["accuracy_0"]
    assert correct == count


def test_wrong_teachers_and_heads_are_refused():
    with pytest.raises(UserError, match="needs a teacher of codes, but teacher 1 gives values"):
        masked_codes.build(masked_codes.Config(teacher=1), shape(8, 12), TargetSpec("values", 84, None, GRID))
    with pytest.raises(UserError, match="`head` must be cosine or linear"):
        masked_codes.build(masked_codes.Config(head="dot"), shape(8, 12), TargetSpec("codes", 1, 4, GRID))
    with pytest.raises(UserError, match="needs a teacher of codes, but there is none"):
        masked_codes.build(masked_codes.Config(), shape(8, 12), None)


@pytest.mark.parametrize("head", ["cosine", "linear"])
def test_it_adds_up_over_clips_runs_in_bfloat16_and_takes_clips_without_masked_frames(head):
    module, view = setup(head)
    assert_sums_over_clips(module, view)
    assert_runs_in_bfloat16(module, view)
    assert_empty_is_zero(module, view)


def test_all_frames_of_the_clips_count_where_nothing_is_masked():
    module, view = setup()
    open_view = replace(view, mask=None)
    assert int(module(open_view).count) == int(view.frames.sum())
    assert_sums_over_clips(module, open_view)


def test_a_random_subset_of_codebooks_is_drawn_without_replacement_and_stands_for_all():
    module, view = setup(codebooks=5, random_codebooks=2)
    drawn = [module.chosen_codebooks(step) for step in range(600)]
    assert all(len(set(chosen)) == 2 for chosen in drawn)
    counts = torch.bincount(torch.tensor(drawn).flatten(), minlength=5)
    assert counts.sum() == 1200
    # Five standard deviations of a fair draw.
    assert (counts - 240).abs().max() < 5 * (600 * 0.4 * 0.6) ** 0.5
    assert module.chosen_codebooks(3) == drawn[3]
    losses = [float(module(replace(view, step=step)).loss_sum.detach()) for step in range(200)]
    module.eval()
    assert module.chosen_codebooks(3) == [0, 1, 2, 3, 4]
    whole = module(view)
    assert sum(losses) / 200 == pytest.approx(float(whole.loss_sum.detach()), rel=0.02)
    module.train()
    output = module(replace(view, step=3))
    assert {name for name in output.metrics if "accuracy" in name} == {f"accuracy_{k}" for k in drawn[3]}
    assert_sums_over_clips(module, replace(view, step=3))


def test_loss_on_visible_frames_is_hubert_s_second_term():
    (plain, view), (both, _) = setup(), setup(unmasked_weight=0.5)
    visible = replace(view, mask=view.inside & ~view.mask)
    expected = plain(view).loss_sum + 0.5 * plain(visible).loss_sum
    output = both(view)
    torch.testing.assert_close(output.loss_sum, expected)
    assert int(output.count) == int(view.mask.sum())
    assert int(output.metrics["unmasked_accuracy_0"][1]) == int(visible.mask.sum())
    assert_sums_over_clips(both, view)


def test_intermediate_layers_share_the_embeddings_and_are_averaged_with_the_last():
    module, view = setup(layers=(1, 2))
    parts = []
    for layer, projection in ((-1, module.projection), *((n, module.layer_projections[str(n)]) for n in (1, 2))):
        single, _ = setup()
        single.codes, single.projection = module.codes, projection
        parts.append(single(replace(view, hidden=[view.hidden[layer]])).loss_sum)
    output = module(view)
    torch.testing.assert_close(output.loss_sum, sum(parts) / 3)
    assert {"accuracy_0", "layer_1_accuracy_0", "layer_2_accuracy_2"} <= output.metrics.keys()
    assert_sums_over_clips(module, view)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"random_codebooks": 4}, "`random_codebooks` must lie between 1 and the teacher's 3 codebooks"),
        ({"random_codebooks": 0}, "or be null, but is 0"),
        ({"unmasked_weight": -1.0}, "`unmasked_weight` must not be negative"),
        ({"layers": (2, 2)}, "`layers` must be numbers of different hidden layers"),
        ({"layers": (-2,)}, "`layers` must be numbers of different hidden layers"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, match):
    with pytest.raises(UserError, match=match):
        setup(**options)


def test_each_codebook_is_predicted_from_the_layer_that_it_is_of():
    module, view = setup("linear", codebook_loss="mean", layer_by_layer=True, point="feed_forward")
    assert (module.point, module.depth) == ("feed_forward", 3)
    hidden = [state.requires_grad_() for state in view.hidden]
    output = module(replace(view, hidden=hidden))
    mask, expected = view.mask, 0
    for k, state in enumerate(hidden[-3:]):
        logits = module.projections[k](state[mask])
        expected = expected + F.cross_entropy(logits, view.targets[mask][:, k], reduction="sum") / 3
    torch.testing.assert_close(output.loss_sum, expected)
    gradients = torch.autograd.grad(output.loss_sum, hidden, allow_unused=True)
    assert [gradient is not None for gradient in gradients] == [False, True, True, True]
    assert set(output.metrics) == {
        f"{name}_{k}" for name in ("accuracy", "code_perplexity", "predicted_perplexity") for k in range(3)
    }


def test_layer_by_layer_the_loss_is_a_sum_over_clips():
    module, view = setup("cosine", layer_by_layer=True)
    assert_sums_over_clips(module, view)
    assert_empty_is_zero(module, view)


def test_a_layer_has_one_codebook_or_all():
    with pytest.raises(UserError, match="with `layer_by_layer` every layer has its own codebook"):
        setup(layer_by_layer=True, layers=(1,))
    with pytest.raises(UserError, match="`point` must be output or feed_forward, but is `middle`"):
        setup(point="middle")
