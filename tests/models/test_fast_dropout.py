"""Dropout on a CPU: the right share is dropped, independently, and gradients go the same way."""

import pytest
import torch

from audio_ssl.models.fast.cpu import Dropout, draw_kept, dropout_share


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_the_share_is_dropped_and_the_mean_stays(p):
    torch.manual_seed(0)
    x = torch.ones(2_000_001)
    y = Dropout(p)(x)
    assert float((y == 0).double().mean()) == pytest.approx(p, abs=4 * (p * (1 - p) / len(x)) ** 0.5)
    assert float(y.double().mean()) == pytest.approx(1.0, abs=0.005 / (1 - p))
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - dropout_share(p))))


def test_neighbours_and_lanes_are_independent():
    kept = draw_kept((1 << 20,), 0.5).double() - 0.5
    for shift in range(1, 9):
        assert abs(float((kept[shift:] * kept[:-shift]).mean())) < 4 * 0.25 / 1024
    for lane in range(4):
        assert abs(float(kept[lane::4].mean())) < 4 * 0.5 / 512


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_dropped_where_values_are(dtype):
    x = torch.randn(7, 5, 11, dtype=dtype, requires_grad=True)
    y = Dropout(0.3)(x)
    assert y.dtype == dtype
    assert y.shape == x.shape
    y.sum().backward()
    torch.testing.assert_close(x.grad * x.detach(), y.detach(), rtol=0.02, atol=1e-6)


def test_torch_seeds_decide():
    x = torch.ones(1000)
    torch.manual_seed(3)
    first = Dropout(0.2)(x)
    assert not torch.equal(first, Dropout(0.2)(x))
    torch.manual_seed(3)
    assert torch.equal(first, Dropout(0.2)(x))


@pytest.mark.parametrize(("p", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_nothing_and_everything(p, expected):
    assert torch.equal(Dropout(p)(torch.ones(9)), torch.full((9,), expected))


def test_evaluation_changes_nothing():
    x = torch.randn(9)
    assert torch.equal(Dropout(0.5).eval()(x), x)
