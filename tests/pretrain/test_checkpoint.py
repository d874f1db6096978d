from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from audio_ssl.errors import UserError
from audio_ssl.pretrain.checkpoint import (
    State,
    best_checkpoint,
    checkpoints,
    load_checkpoint,
    read_state,
    save_checkpoint,
)
from audio_ssl.pretrain.optim import make_optimizer
from audio_ssl.pretrain.recipe import OptimConfig


class Tied(nn.Module):
    """Shares one weight between two layers, which safetensors alone would refuse."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(size, size), nn.Linear(size, size)
        self.second.weight = self.first.weight
        self.register_buffer("counts", torch.arange(4))


def trained(size: int = 3) -> tuple[Tied, torch.optim.Optimizer]:
    module = Tied(size)
    optimizer = make_optimizer(module, OptimConfig())
    for step in range(3):
        optimizer.zero_grad()
        module.second(module.first(torch.full((2, size), step + 1.0))).square().sum().backward()
        optimizer.step()
    return module, optimizer


def save(folder: Path, step: int, valid_loss: float | None = None, keep_last: int = 2) -> None:
    module, optimizer = trained()
    save_checkpoint(folder, State(1, 0, step, step, valid_loss=valid_loss), module, optimizer, keep_last)


def test_everything_comes_back(tmp_path: Path) -> None:
    module, optimizer = trained()
    state = State(seed=5, epoch=2, position=3, step=7, skipped_steps=1, audio_seconds=12.5, valid_loss=0.25)
    path = save_checkpoint(tmp_path, state, module, optimizer, keep_last=2)
    assert {file.name for file in path.iterdir()} == {"model.safetensors", "optimizer.safetensors", "state.json"}
    fresh = Tied()
    fresh_optimizer = make_optimizer(fresh, OptimConfig())
    assert load_checkpoint(path, fresh, fresh_optimizer) == state
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in fresh.state_dict().items())
    for left, right in zip(module.parameters(), fresh.parameters(), strict=True):
        for key, value in optimizer.state[left].items():
            assert torch.equal(value, fresh_optimizer.state[right][key])


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    for step, loss in ((1, 3.0), (2, 1.0), (3, None), (4, 2.0), (5, None)):
        save(tmp_path, step, loss)
    assert [path.name for path in checkpoints(tmp_path)] == ["step_2", "step_4", "step_5"]
    best = best_checkpoint(tmp_path)
    assert best is not None
    assert read_state(best).valid_loss == 1.0
    save(tmp_path, 10, 0.5, keep_last=1)
    assert [path.name for path in checkpoints(tmp_path)] == ["step_10"]


def test_a_checkpoint_cut_short_is_not_seen(tmp_path: Path) -> None:
    save(tmp_path, 1)
    partial = tmp_path / ".partial-step_2"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"half")
    assert [path.name for path in checkpoints(tmp_path)] == ["step_1"]
    save(tmp_path, 2)
    assert not partial.exists()
    assert [path.name for path in checkpoints(tmp_path)] == ["step_1", "step_2"]


def test_another_model_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    other = nn.Linear(3, 3)
    with pytest.raises(UserError, match=r"does not fit the recipe's model: missing \['weight', 'bias'\]"):
        load_checkpoint(tmp_path / "step_1", other, make_optimizer(other, OptimConfig()))


def test_no_validation_means_no_best(tmp_path: Path) -> None:
    assert best_checkpoint(tmp_path / "nothing") is None
    save(tmp_path, 1)
    assert best_checkpoint(tmp_path) is None
