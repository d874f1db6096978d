"""Means of masked views of a clip against those of other clips."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from audio_ssl.errors import UserError
from audio_ssl.objectives import clip_contrast
from tests.objectives.views import make_view


def view_of(means, clones, lengths=None):
    view = make_view(lengths=lengths or (20,) * len(means))
    return dataclasses.replace(view, clones=clones, clip_means=lambda: means)


def module(**options):
    torch.manual_seed(0)
    return clip_contrast.build(clip_contrast.Config(**options), 16, 12, None)


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
    losses, _ = head._losses(logits, 3)
    for row in range(6):
        own, rest = (range(3), range(3, 6)) if row < 3 else (range(3, 6), range(3))
        expected = [
            -torch.log(logits[row, pair].exp() / (logits[row, pair].exp() + logits[row, list(rest)].exp().sum()))
            for pair in own
            if pair != row
        ]
        torch.testing.assert_close(losses[row], torch.stack(expected).mean(), rtol=1e-4, atol=1e-5)


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
