"""Batch norm equals torch's; padding has no influence; stored statistics take in whole updates."""

import copy

import pytest
import torch
from torch import nn

from audio_ssl.models.normalisation import BatchNorm


def values(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) * 3 + 1


def alone(tensor):
    return tensor


@pytest.mark.parametrize("shape", [(4, 6, 9), (3, 6, 5, 8)])
@pytest.mark.parametrize("padded", [False, True])
def test_it_is_torchs(shape, padded):
    theirs = (nn.BatchNorm1d if len(shape) == 3 else nn.BatchNorm2d)(6)
    ours = BatchNorm(6)
    nn.init.normal_(theirs.weight, generator=torch.Generator().manual_seed(1))
    ours.load_state_dict({n: v for n, v in theirs.state_dict().items() if not n.endswith("tracked")})
    inside = torch.ones(shape[0], 1, *shape[2:], dtype=torch.bool) if padded else None
    for _ in range(3):
        x, y = values(*shape).requires_grad_(), values(*shape).requires_grad_()
        expected, found = theirs(x), ours(y, inside)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        expected.square().sum().backward()
        found.square().sum().backward()
        torch.testing.assert_close(y.grad, x.grad, rtol=1e-4, atol=1e-4)
        ours.follow(alone)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(values(*shape)), theirs.eval()(values(*shape)))


def test_padding_has_no_influence_on_values_or_statistics():
    norm, x = BatchNorm(4), values(2, 4, 3, 10)
    wide = torch.full((2, 4, 3, 15), 1e9)
    wide[..., :10] = x
    inside = torch.arange(15)[None, None, None] < 10
    expected = norm(x)
    norm.follow(alone)
    other = BatchNorm(4)
    found = other(wide, inside.expand(2, 1, 1, 15).expand(2, 1, 3, 15))
    other.follow(alone)
    torch.testing.assert_close(found[..., :10], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(other.running_mean, norm.running_mean)
    torch.testing.assert_close(other.running_var, norm.running_var)


def test_an_update_counts_once_however_it_was_shared_out():
    parts = [values(2, 4, 5 + n) for n in range(4)]
    whole, shares = BatchNorm(4), [BatchNorm(4), BatchNorm(4)]
    for part in parts:
        whole(part)
    whole.follow(alone)
    for number, part in enumerate(parts):
        shares[number % 2](part)
    asked = []
    for share in copy.deepcopy(shares):
        share.follow(lambda tensor: asked.append(tensor) or tensor)
    for share in shares:
        share.follow(lambda _: sum(asked))
        torch.testing.assert_close(share.running_mean, whole.running_mean)
        torch.testing.assert_close(share.running_var, whole.running_var)
    mean = torch.stack([part.transpose(0, 1).flatten(1).mean(1) for part in parts]).mean(0)
    torch.testing.assert_close(whole.running_mean, 0.1 * mean)


def test_nothing_is_counted_twice_or_without_training():
    norm = BatchNorm(4)
    norm.eval()(values(2, 4, 5))
    norm.follow(alone)
    assert torch.equal(norm.running_mean, torch.zeros(4))
    norm.train()(values(2, 4, 5))
    norm.follow(alone)
    once = norm.running_mean.clone()
    norm.follow(alone)
    assert torch.equal(norm.running_mean, once)
    assert set(norm.state_dict()) == {"weight", "bias", "running_mean", "running_var"}


@pytest.mark.parametrize("shape", [(1, 4, 1), (1, 4, 1, 1)])
def test_a_single_value_gives_the_offset_and_no_error(shape):
    norm = BatchNorm(4)
    nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(1))
    x = values(*shape)
    torch.testing.assert_close(norm(x).flatten(), norm.bias)
    norm.follow(alone)
    torch.testing.assert_close(norm.running_mean, 0.1 * x.flatten())
    torch.testing.assert_close(norm.running_var, torch.full((4,), 0.9))
