from __future__ import annotations

import pytest
import torch
from torch import nn

from audio_ssl.pretrain.optim import effective_warmup, learning_rate, make_optimizer
from audio_ssl.pretrain.recipe import OptimConfig
from audio_ssl.pretrain.seeds import derive_seed, generator, seeded


def test_norms_and_biases_are_not_decayed() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Conv1d(1, 2, 3))
    module.register_parameter("mask_emb", nn.Parameter(torch.ones(2, 2)))
    optimizer = make_optimizer(module, OptimConfig(weight_decay=0.3))
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


def test_linear_schedule_is_that_of_fairseq_polynomial_decay() -> None:
    config = OptimConfig(lr=2.0, warmup_steps=10)
    rates = [learning_rate(config, step, 110) for step in range(110)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == 2.0
    assert rates[60] == pytest.approx(2.0 * (1 - 50 / 100))
    assert rates[109] == pytest.approx(0.02)


def test_cosine_and_constant_schedules() -> None:
    cosine = OptimConfig(lr=1.0, warmup_steps=0, schedule="cosine")
    assert learning_rate(cosine, 50, 100) == pytest.approx(0.5)
    assert learning_rate(cosine, 99, 100) < 0.001
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
    assert rates[:4] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert rates[92] == 1.0
    assert rates[93] > rates[95] > rates[99]
    assert rates[100] == pytest.approx(0.01)


def test_noam_falls_with_the_root_of_the_step() -> None:
    config = OptimConfig(lr=1.0, warmup_steps=25, schedule="noam")
    assert learning_rate(config, 24, 1000) == pytest.approx(1.0)
    assert learning_rate(config, 99, 1000) == pytest.approx(0.5)
    assert learning_rate(config, 399, 1000) == pytest.approx(0.25)
