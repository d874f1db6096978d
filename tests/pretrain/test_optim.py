from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from audio_ssl.base.seeds import derive_seed, generator, seeded
from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import mel
from audio_ssl.models.model import ModelConfig, SSLModel
from audio_ssl.pretrain.optim import OptimConfig, effective_warmup, learning_rate, make_optimizer, set_learning_rate
from audio_ssl.pretrain.recipe import structure_recipe


def test_all_weights_are_decayed_as_in_fairseq() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    (group,) = make_optimizer(module, OptimConfig(weight_decay=0.3)).param_groups
    assert group["weight_decay"] == 0.3
    assert len(group["params"]) == 4


def test_of_matrices_alone_norms_and_biases_are_not_decayed() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Conv1d(1, 2, 3))
    module.register_parameter("mask_emb", nn.Parameter(torch.ones(2, 2)))
    optimizer = make_optimizer(module, OptimConfig(weight_decay=0.3, weight_decay_on="matrices"))
    decayed, plain = optimizer.param_groups
    assert {id(p) for p in decayed["params"]} == {id(module[0].weight), id(module[2].weight)}
    assert decayed["weight_decay"] == 0.3
    assert plain["weight_decay"] == 0.0
    assert len(plain["params"]) == 5


def test_frozen_parameters_are_left_out() -> None:
    module = nn.Linear(2, 2)
    module.weight.requires_grad_(False)
    (group,) = make_optimizer(module, OptimConfig()).param_groups
    assert len(group["params"]) == 1


def test_rates_fall_with_the_layer() -> None:
    config = ModelConfig(
        mel.Config(), transformer.Config(layers=2, dim=8, ffn_dim=8, heads=1, position_groups=2), 16000
    )
    module = nn.Module()
    module.head, module.model = nn.Linear(8, 2), SSLModel(config)
    settings = OptimConfig(lr=0.1, layer_decay=0.5, weight_decay=0.0, weight_decay_on="matrices", eps=1e-30)
    optimizer = make_optimizer(module, settings)
    set_learning_rate(optimizer, 0.1)
    assert optimizer.param_groups[0]["lr"] == 0.1
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    # Adam's first step is the learning rate, whatever the gradient.
    moved = {
        name: float((parameter.detach() - before[name]).abs().mean()) for name, parameter in module.named_parameters()
    }
    shares = {"head": 1.0, "encoder.blocks.1": 1.0, "encoder.blocks.0": 0.5, "encoder.projection": 0.25, "mask": 0.25}
    for part, share in shares.items():
        steps = [step for name, step in moved.items() if part in name]
        assert steps
        assert steps == pytest.approx([0.1 * share] * len(steps), rel=1e-4)
    one = make_optimizer(module, OptimConfig(layer_decay=1.0))
    assert len(one.param_groups) == len(make_optimizer(module, OptimConfig()).param_groups) == 1


def fairseq_adam(weight: Tensor, gradients: list[Tensor], config: OptimConfig, eps: list[float]) -> Tensor:
    """Steps by the formula of fairseq's `fairseq/optim/adam.py`, with an epsilon for each."""
    first, second = torch.zeros_like(weight), torch.zeros_like(weight)
    for number, gradient in enumerate(gradients, 1):
        first = config.betas[0] * first + (1 - config.betas[0]) * gradient
        second = config.betas[1] * second + (1 - config.betas[1]) * gradient**2
        size = config.lr * math.sqrt(1 - config.betas[1] ** number) / (1 - config.betas[0] ** number)
        weight = weight - config.weight_decay * config.lr * weight
        weight = weight - size * first / (second.sqrt() + eps[number - 1])
    return weight


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_ten_steps_are_those_of_fairseqs_adam(scale: float) -> None:
    draw = torch.Generator().manual_seed(1)
    config = OptimConfig(lr=0.01, weight_decay=0.1)
    module = nn.Linear(3, 4).double()
    begin = module.bias.detach().clone()
    gradients = [scale * (1 + torch.randn(4, generator=draw, dtype=torch.float64)) for _ in range(10)]
    optimizer = make_optimizer(module, config)
    for gradient in gradients:
        module.bias.grad = gradient
        optimizer.step()
    reached = module.bias.detach()
    moved = (reached - begin).norm()
    # torch adds epsilon after the second moment is corrected, as apex's fused Adam does; fairseq's own before.
    after = [config.eps * math.sqrt(1 - config.betas[1] ** number) for number in range(1, 11)]
    theirs = fairseq_adam(begin, gradients, config, after)
    assert float((reached - theirs).norm() / moved) < 1e-12
    own = fairseq_adam(begin, gradients, config, [config.eps] * 10)
    # Gradients of 1e-4 are those of a base model whose gradient has norm 1.
    assert float((reached - own).norm() / moved) < (1e-4 if scale == 1 else 0.05)


def test_linear_schedule_is_that_of_fairseq_polynomial_decay() -> None:
    config = OptimConfig(lr=2.0, warmup_steps=10)
    rates = [learning_rate(config, step, 110) for step in range(110)]
    assert rates[:3] == pytest.approx([0.2, 0.2, 0.4])
    assert rates[9:11] == [1.8, 2.0]
    assert rates[60] == pytest.approx(2.0 * (1 - 50 / 100))
    assert rates[109] == pytest.approx(0.02)


def test_cosine_and_constant_schedules() -> None:
    cosine = OptimConfig(lr=1.0, warmup_steps=0, schedule="cosine")
    assert learning_rate(cosine, 50, 100) == pytest.approx(0.5)
    assert learning_rate(cosine, 99, 100) < 0.001
    assert learning_rate(OptimConfig(lr=1.0, warmup_steps=4, schedule="cosine"), 0, 100) == 0.0
    constant = OptimConfig(lr=1.0, warmup_steps=4, schedule="constant")
    assert [learning_rate(constant, step, 100) for step in (0, 50, 99)] == [0.25, 1.0, 1.0]


def test_a_shortened_run_still_warms_up_and_learns() -> None:
    config = OptimConfig(lr=1.0, warmup_steps=32_000)
    assert effective_warmup(config, 40) == 10
    assert max(learning_rate(config, step, 40) for step in range(40)) == 1.0
    assert effective_warmup(config, 400_000) == 32_000
    assert learning_rate(config, 0, 2) == 1.0


def test_seeds_depend_on_their_purpose_and_leave_the_global_generator_alone() -> None:
    assert derive_seed(1, "a", 2) != derive_seed(1, "a", 3)
    assert derive_seed(1, "a") < 2**63
    assert torch.equal(torch.rand(3, generator=generator(1, "x")), torch.rand(3, generator=generator(1, "x")))
    before = torch.get_rng_state()
    with seeded(torch.device("cpu"), 1, "dropout"):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(torch.device("cpu"), 1, "dropout"):
        assert torch.equal(torch.rand(3), first)


def test_tri_stage_is_flat_and_then_falls_to_a_hundredth() -> None:
    config = OptimConfig(lr=1.0, warmup_steps=3, schedule="tri_stage")
    rates = [learning_rate(config, step, 100) for step in range(101)]
    assert rates[:4] == pytest.approx([0.01, 0.34, 0.67, 1])
    assert rates[92] == 1.0
    assert rates[93] > rates[95] > rates[99]
    assert rates[100] == pytest.approx(0.01)


def test_tri_stage_falls_for_as_long_as_it_is_told() -> None:
    config = OptimConfig(lr=1.0, warmup_steps=3, schedule="tri_stage", fall_share=0.5)
    rates = [learning_rate(config, step, 100) for step in (50, 75, 100)]
    assert rates == pytest.approx([1.0, 0.1, 0.01])


def test_noam_falls_with_the_root_of_the_step() -> None:
    config = OptimConfig(lr=1.0, warmup_steps=25, schedule="noam")
    rates = [learning_rate(config, step, 1000) for step in (0, 1, 25, 100, 400)]
    assert rates == pytest.approx([1.0, 0.04, 1.0, 0.5, 0.25])


@pytest.mark.parametrize(
    ("schedule", "first", "last"),
    [
        ("linear", [1 / 3, 2 / 3, 1, 1], 1 / 97),
        ("cosine", [1 / 3, 2 / 3, 1, 1], 0.5 + 0.5 * math.cos(math.pi * 96 / 97)),
        ("constant", [1 / 3, 2 / 3, 1, 1], 1),
        ("tri_stage", [1 / 3, 2 / 3, 1, 1], 0.01 ** (6 / 7)),
        ("noam", [1 / 3, 2 / 3, 1, math.sqrt(3 / 4)], math.sqrt(3 / 100)),
    ],
)
def test_runs_of_earlier_releases_keep_their_rates(schedule: str, first: list[float], last: float) -> None:
    config = OptimConfig(lr=1.0, warmup_steps=3, schedule=schedule, warmup_start="one")
    assert [learning_rate(config, step, 100) for step in range(4)] == pytest.approx(first)
    assert learning_rate(config, 99, 100) == pytest.approx(last)


def test_an_old_recipe_means_the_earlier_course() -> None:
    old = structure_recipe({"kind": "codec", "version": 1, "optim": {"lr": 1e-3}}).optim
    assert (old.warmup_start, old.weight_decay_on) == ("one", "matrices")
    new = structure_recipe({"kind": "codec", "optim": {"lr": 1e-3}}).optim
    assert (new.warmup_start, new.weight_decay_on) == ("published", "all")
