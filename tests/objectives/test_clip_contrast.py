"""Means of masked views of a clip against those of other clips."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from audio_ssl.base.errors import UserError
from audio_ssl.pretrain.objectives import clip_contrast
from audio_ssl.pretrain.view import VisibleStates
from tests.objectives.views import make_view, shape


def view_of(means, clones):
    """Return a view whose clips have two frames, the same one twice."""
    view = make_view(lengths=(2,) * len(means))
    places = torch.arange(2).expand(len(means), 2)
    state = means[:, None].expand(-1, 2, -1)
    return dataclasses.replace(view, clones=clones, seen=VisibleStates(state, places, torch.ones_like(places).bool()))


def module(**options):
    torch.manual_seed(0)
    return clip_contrast.build(clip_contrast.Config(**{"halves": False, **options}), shape(16, 12), None)


def random(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_two_views_are_nt_xent():
    head, means = module(temperature=0.5), random(6, 16)
    view = view_of(means, 2)
    points = F.normalize(head.layers(means), dim=1)
    logits = (points @ points.T / 0.5).masked_fill(torch.eye(6, dtype=torch.bool), -torch.inf)
    partner = torch.tensor([1, 0, 3, 2, 5, 4])
    expected = F.cross_entropy(logits, partner, reduction="none")
    counts = view.mask.sum(1)
    output = head(view)
    torch.testing.assert_close(output.loss_sum, (expected * counts).sum())
    assert int(output.count) == int(counts.sum())
    right = (logits.argmax(1) == partner).float()
    total, count = output.metrics["clip_accuracy"]
    torch.testing.assert_close(total / count, (right * counts).sum() / counts.sum())


def test_further_views_of_a_clip_are_no_others():
    head, means = module(), random(6, 16)
    points = F.normalize(head.layers(means), dim=1)
    logits = points @ points.T / 0.1
    losses, _ = head._losses(logits, 3, torch.arange(6) % 3, torch.ones(6).bool())
    for row in range(6):
        own, rest = (range(3), range(3, 6)) if row < 3 else (range(3, 6), range(3))
        expected = [
            -torch.log(logits[row, pair].exp() / (logits[row, pair].exp() + logits[row, list(rest)].exp().sum()))
            for pair in own
            if pair != row
        ]
        torch.testing.assert_close(losses[row], torch.stack(expected).mean(), rtol=1e-4, atol=1e-5)


def test_halves_are_those_of_the_clip_and_pairs_are_of_different_ones():
    head = module(halves=True)
    # Three masks of two clips of 5 and 4 frames; places as a mask leaves them.
    places = torch.tensor([[0, 2, 3, 4], [1, 2, 4, 0], [0, 1, 3, 2], [0, 1, 2, 3], [0, 3, 1, 2], [1, 2, 3, 0]])
    counts = torch.arange(4) < torch.tensor([4, 3, 4, 4, 2, 3])[:, None]
    state = random(6, 4, 16)
    view = dataclasses.replace(
        make_view(lengths=(5, 5, 5, 4, 4, 4)), clones=3, seen=VisibleStates(state, places, counts)
    )
    # Masks 0 and 2 of a clip take the frames before its middle, mask 1 those from there on.
    rows = [[0, 1], [2], [0, 1, 3], [0, 1], [1], [0]]
    means = torch.stack([state[row, kept].mean(0) for row, kept in enumerate(rows)])
    points = F.normalize(head.layers(means), dim=1)
    logits = (points @ points.T / 0.1).exp()
    expected = torch.zeros(6)
    for first, other in ((0, 3), (3, 0)):
        rest = [other, other + 1, other + 2]
        for row, partners in ((0, (1,)), (1, (0, 2)), (2, (1,))):
            each = [
                -torch.log(
                    logits[first + row, first + pair]
                    / (logits[first + row, first + pair] + logits[first + row, rest].sum())
                )
                for pair in partners
            ]
            expected[first + row] = torch.stack(each).mean()
    torch.testing.assert_close(head(view).loss_sum, (expected * view.mask.sum(1)).sum())


def test_a_half_that_is_hidden_as_a_whole_is_left_out():
    head, state = module(halves=True), random(6, 4, 16)
    counts = torch.ones(6, 4).bool()
    # The second mask of the second clip leaves nothing of its half.
    counts[3, 2:] = False
    seen = VisibleStates(state, torch.arange(4).expand(6, 4), counts)
    view = dataclasses.replace(make_view(lengths=(4,) * 6), clones=2, seen=seen)
    output = head(view)
    changed = seen._replace(state=state.clone().index_fill_(0, torch.tensor([3]), 5.0))
    torch.testing.assert_close(head(dataclasses.replace(view, seen=changed)).loss_sum, output.loss_sum)
    number, there = torch.arange(6) % 2, torch.tensor([True, True, True, False, True, True])
    losses, _ = head._losses(random(6, 6), 2, number, there)
    assert (losses == 0).tolist() == [False, False, True, True, False, False]


def test_a_clip_alone_adds_nothing_and_breaks_nothing():
    head, means = module(), random(2, 16).requires_grad_()
    output = head(view_of(means, 2))
    assert float(output.loss_sum.detach()) == 0
    output.loss_sum.backward()
    assert torch.equal(means.grad, torch.zeros_like(means))
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


def test_it_learns_to_tell_clips_apart():
    generator = torch.Generator().manual_seed(0)
    clips = torch.randn(8, 16, generator=generator).repeat_interleave(2, 0)
    head = module(temperature=0.1)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.01)
    shares = []
    for _ in range(60):
        output = head(view_of(clips + torch.randn(clips.shape, generator=generator), 2))
        shares.append(float(output.metrics["clip_accuracy"][0] / output.metrics["clip_accuracy"][1]))
        optimiser.zero_grad()
        (output.loss_sum / output.count).backward()
        optimiser.step()
    assert sum(shares[-10:]) / 10 > sum(shares[:10]) / 10 + 0.15


def test_it_is_float32_under_autocast():
    head, means = module(), random(6, 16)
    expected = head(view_of(means, 2)).loss_sum
    with torch.autocast("cpu", torch.bfloat16):
        found = head(view_of(means.bfloat16(), 2)).loss_sum
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "`temperature` must be above 0, but is 0"),
        ({"projection_dim": 0}, "`projection_dim` must be at least 1, but is 0"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        module(**options)
