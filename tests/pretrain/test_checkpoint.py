from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from audio_ssl.base.errors import UserError
from audio_ssl.pretrain.checkpoint import (
    TrainingState,
    best_checkpoint,
    checkpoints,
    load_checkpoint,
    newest_whole,
    read_state,
    save_checkpoint,
)
from audio_ssl.pretrain.optim import OptimConfig, make_optimizer
from tests.faults.damage import flip


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
    save_checkpoint(folder, TrainingState(1, 0, step, step, valid_loss=valid_loss), module, optimizer, keep_last)


def test_everything_comes_back(tmp_path: Path) -> None:
    module, optimizer = trained()
    state = TrainingState(seed=5, epoch=2, position=3, step=7, skipped_steps=1, audio_seconds=12.5, valid_loss=0.25)
    path = save_checkpoint(tmp_path, state, module, optimizer, keep_last=2)
    names = {"model.safetensors", "optimizer.safetensors", "state.json", "files.json"}
    assert {file.name for file in path.iterdir()} == names
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


DAMAGE: dict[str, Callable[[Path], object]] = {
    "weights cut": lambda path: os.truncate(path / "model.safetensors", 100),
    "weights longer": lambda path: os.truncate(path / "model.safetensors", 10_000),
    "weights empty": lambda path: (path / "model.safetensors").write_bytes(b""),
    "weights gone": lambda path: (path / "model.safetensors").unlink(),
    "header": lambda path: (path / "optimizer.safetensors").write_bytes(b"\xff" * 200),
    "a weight": lambda path: flip(path / "model.safetensors"),
    "a moment": lambda path: flip(path / "optimizer.safetensors"),
    "state empty": lambda path: (path / "state.json").write_bytes(b""),
    "state zeros": lambda path: (path / "state.json").write_bytes(b"\0" * 100),
    "state gone": lambda path: (path / "state.json").unlink(),
    "state of a wrong type": lambda path: (path / "state.json").write_text('{"seed": "x"}'),
    "state a list": lambda path: (path / "state.json").write_text("[1]"),
    "state of another step": lambda path: shutil.copy(path.parent / "step_1" / "state.json", path),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1)
    save(tmp_path, 3)
    damage(tmp_path / "step_3")
    assert newest_whole(tmp_path) == tmp_path / "step_1"
    assert "step_3 is damaged and was set aside as damaged_step_3; continuing from step_1" in caplog.text
    # What is set aside is no checkpoint: it is neither kept in the place of a whole one nor gone on from.
    save(tmp_path, 2, keep_last=1)
    assert [path.name for path in checkpoints(tmp_path)] == ["step_2"]
    assert newest_whole(tmp_path) == tmp_path / "step_2"


def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_again_in_silence(tmp_path: Path) -> None:
    assert newest_whole(tmp_path) is None
    save(tmp_path, 1)
    (tmp_path / "step_1" / "state.json").write_text("{")
    with pytest.raises(UserError, match=r"none of the 1 checkpoints can be read \(delete this folder to begin again"):
        newest_whole(tmp_path)
    assert best_checkpoint(tmp_path) is None


def test_a_checkpoint_of_before_there_were_records_is_taken(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "step_1" / "files.json").unlink()
    assert newest_whole(tmp_path) == tmp_path / "step_1"


def test_a_checkpoint_that_lacks_moments_or_is_cut_is_said(tmp_path: Path) -> None:
    save(tmp_path, 1)
    module, optimizer = trained()
    path = tmp_path / "step_1" / "optimizer.safetensors"
    save_file({"exp_avg.nothing": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="does not fit the recipe's model"):
        load_checkpoint(tmp_path / "step_1", module, optimizer)
    path.write_bytes(b"half")
    with pytest.raises(UserError, match="the checkpoint is damaged"):
        load_checkpoint(tmp_path / "step_1", module, optimizer)
