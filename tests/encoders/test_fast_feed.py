"""The feed-forward part on a CPU equals the modules one after the other, in values and gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from audio_ssl.encoders._fast_feed import feed_forward


def parts(dtype=torch.float32, dim=48, wide=112):
    torch.manual_seed(0)
    inner, outer = nn.Linear(dim, wide, dtype=dtype), nn.Linear(wide, dim, dtype=dtype)
    return torch.randn(3, 37, dim, dtype=dtype, requires_grad=True), inner, outer


def plain(x, inner, outer):
    return outer(F.gelu(inner(x)))


def gradients(y, x, inner, outer):
    wanted = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return torch.autograd.grad((y * wanted.to(y.dtype)).sum(), (x, *inner.parameters(), *outer.parameters()))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_values_and_gradients_equal(dtype, tolerance):
    x, inner, outer = parts(dtype)
    ours, expected = feed_forward(x, inner, outer, nn.Dropout(0.0)), plain(x, inner, outer)
    assert (ours - expected).abs().max() <= tolerance
    pairs = zip(gradients(ours, x, inner, outer), gradients(expected, x, inner, outer), strict=True)
    for ours_gradient, expected_gradient in pairs:
        assert (ours_gradient - expected_gradient).norm() <= 10 * tolerance * expected_gradient.norm()


def test_the_size_of_the_published_base_model():
    x, inner, outer = parts(dim=768, wide=3072)
    ours, expected = feed_forward(x, inner, outer, nn.Dropout(0.0)), plain(x, inner, outer)
    assert (ours - expected).abs().max() <= 1e-5
    pairs = zip(gradients(ours, x, inner, outer), gradients(expected, x, inner, outer), strict=True)
    for ours_gradient, expected_gradient in pairs:
        assert (ours_gradient - expected_gradient).norm() <= 1e-4 * expected_gradient.norm()


def test_autocast_gives_bfloat16_and_float32_gradients():
    x, inner, outer = parts()
    with torch.autocast("cpu", torch.bfloat16):
        ours = feed_forward(x, inner, outer, nn.Dropout(0.0))
    assert ours.dtype == torch.bfloat16
    found = gradients(ours, x, inner, outer)
    for gradient, expected in zip(found, gradients(plain(x, inner, outer), x, inner, outer), strict=True):
        assert gradient.dtype == torch.float32
        assert (gradient - expected).norm() <= 0.02 * expected.norm()


def test_the_wide_frames_are_kept_once():
    x, inner, outer = parts()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        feed_forward(x, inner, outer, nn.Dropout(0.0))
    assert sum(t.shape == (111, 112) for t in kept) == 1


def test_dropout_inside_and_inference_are_the_modules():
    x, inner, outer = parts()
    torch.manual_seed(3)
    dropped = feed_forward(x, inner, outer, nn.Dropout(0.4))
    torch.manual_seed(3)
    assert torch.equal(dropped, outer(F.dropout(F.gelu(inner(x)), 0.4)))
    with torch.no_grad():
        inferred = feed_forward(x, inner, outer, nn.Dropout(0.0))
    torch.testing.assert_close(inferred, plain(x, inner, outer).detach(), atol=1e-6, rtol=1e-5)
