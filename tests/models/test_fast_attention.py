"""Attention with dropout on a CPU equals torch's, given the same dropped weights; its gradients too."""

import pytest
import torch
from torch.nn import functional as F

from audio_ssl.models.fast import cpu
from audio_ssl.models.fast.cpu import attention_with_dropout, draw_kept, dropout_share


def inputs(dtype=torch.float64, frames=17):
    torch.manual_seed(0)
    return [torch.randn(2, 3, frames, 8, dtype=dtype, requires_grad=True) for _ in range(3)]


def biases():
    seen = torch.arange(17) < torch.tensor([17, 9])[:, None]
    return {
        "none": None,
        "keys": seen[:, None, None],
        "numbers": torch.randn(3, 17, 17, generator=torch.Generator().manual_seed(1)),
        "infinite": torch.zeros(2, 1, 1, 17).masked_fill(~seen[:, None, None], float("-inf")),
    }


def reference(query, key, value, bias, kept, p):
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    if bias is not None:
        scores = scores.masked_fill(~bias, float("-inf")) if bias.dtype == torch.bool else scores + bias
    return (scores.softmax(-1) * kept / (1 - dropout_share(p))) @ value


@pytest.mark.parametrize("bias", biases())
def test_values_and_gradients_equal_the_formula(bias):
    bias, p = biases()[bias], 0.3
    kept = draw_with_seed(p)
    query, key, value = inputs()
    torch.manual_seed(5)
    mixed = attention_with_dropout(query, key, value, bias, p)
    wanted = torch.randn(mixed.shape, dtype=torch.float64)
    gradients = torch.autograd.grad((mixed * wanted).sum(), (query, key, value))
    expected = reference(query, key, value, bias, kept, p)
    expected_gradients = torch.autograd.grad((expected * wanted).sum(), (query, key, value))
    torch.testing.assert_close(mixed, expected, rtol=1e-9, atol=1e-9)
    for ours, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-9, atol=1e-9)


def draw_with_seed(p):
    torch.manual_seed(5)
    return draw_kept((2, 3, 17, 17), p)


def test_a_learnt_bias_gets_its_gradient():
    bias = torch.randn(3, 17, 17, requires_grad=True)
    kept = draw_with_seed(0.2)
    query, key, value = inputs()
    torch.manual_seed(5)
    attention_with_dropout(query, key, value, bias, 0.2).square().sum().backward()
    given, bias.grad = bias.grad, None
    reference(query, key, value, bias, kept, 0.2).square().sum().backward()
    torch.testing.assert_close(given, bias.grad, rtol=1e-4, atol=1e-5)


def test_without_dropout_it_is_torchs_own():
    query, key, value = inputs(torch.float32)
    assert torch.equal(attention_with_dropout(query, key, value), F.scaled_dot_product_attention(query, key, value))


def test_bfloat16_is_close_to_float32():
    query, key, value = inputs(torch.float32)
    torch.manual_seed(5)
    exact = attention_with_dropout(query, key, value, None, 0.1)
    lowered = [x.detach().bfloat16().requires_grad_() for x in (query, key, value)]
    torch.manual_seed(5)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = attention_with_dropout(*lowered, None, 0.1)
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.float(), exact, rtol=0.05, atol=0.03)
    mixed.float().square().sum().backward()
    exact.square().sum().backward()
    for ours, other in zip(lowered, (query, key, value), strict=True):
        assert (ours.grad.float() - other.grad).norm() <= 0.02 * other.grad.norm()


def test_a_clip_that_may_see_nothing_is_finite():
    query, key, value = inputs(torch.float32)
    nothing = torch.zeros(2, 1, 1, 17, dtype=torch.bool)
    mixed = attention_with_dropout(query, key, value, nothing, 0.1)
    assert torch.isfinite(mixed).all()


def test_one_matrix_of_weights_and_a_byte_a_weight_are_kept():
    query, key, value = inputs(torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        cpu.attention_with_dropout(query, key, value, None, 0.1)
    weights = [x for x in kept if x.shape == (2, 3, 17, 17)]
    assert sorted(str(x.dtype) for x in weights) == ["torch.bool", "torch.float32"]
