import math

import pytest
import torch
from torch.nn import functional as F

from audio_ssl.data.frames import FrameGrid
from audio_ssl.data.targets import TargetSpec
from audio_ssl.errors import UserError
from audio_ssl.objectives import masked_codes

GRID = FrameGrid(16000, 320, 400)


def setup(head="cosine", codebooks=3, classes=11, dim=16, frames=40):
    torch.manual_seed(0)
    module = masked_codes.build(
        masked_codes.Config(head=head, final_dim=8), dim, TargetSpec("codes", codebooks, classes, GRID)
    )
    hidden = torch.randn(2, frames, dim)
    targets = torch.randint(classes, (2, frames, codebooks))
    mask = torch.rand(2, frames) < 0.5
    return module, hidden, targets, mask


def test_loss_is_hubert_s_formula():
    module, hidden, targets, mask = setup()
    output = module(hidden, targets, mask)
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
    module, hidden, targets, mask = setup(head)
    metrics = module(hidden, targets, mask).metrics
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
    module, hidden, targets, mask = setup()
    changed = torch.where(mask[..., None], hidden, hidden + 5)
    assert torch.equal(module(hidden, targets, mask).loss_sum, module(changed, targets, mask).loss_sum)


def test_no_tensor_of_frames_by_classes_by_dim_is_kept():
    module, hidden, targets, mask = setup(classes=200, frames=200)
    largest = 0

    def pack(tensor):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        module(hidden, targets, mask)
    frames = int(mask.sum())
    assert largest <= 2 * frames * 200
    assert largest < frames * 200 * 8


def test_learning_reaches_certainty_on_a_toy():
    module, _, targets, mask = setup(classes=5, codebooks=1)
    module.projection = torch.nn.Linear(16, 8)
    hidden = F.one_hot(targets[..., 0], 16).float()
    optimizer = torch.optim.Adam(module.parameters(), 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        output = module(hidden, targets, mask)
        output.loss_sum.backward()
        optimizer.step()
    correct, count = output.metrics["accuracy_0"]
    assert correct == count


def test_wrong_teachers_and_heads_are_refused():
    with pytest.raises(UserError, match="needs a teacher of codes, but teacher 1 gives values"):
        masked_codes.build(masked_codes.Config(teacher=1), 8, TargetSpec("values", 84, None, GRID))
    with pytest.raises(UserError, match="`head` must be cosine or linear"):
        masked_codes.build(masked_codes.Config(head="dot"), 8, TargetSpec("codes", 1, 4, GRID))
