from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from audio_ssl.base.errors import StoppedBySignal, UserError
from audio_ssl.data.loader import Batch, Loader, Position
from audio_ssl.pretrain.checkpoint import best_checkpoint, checkpoints, read_state
from audio_ssl.pretrain.distributed import choose_device
from audio_ssl.pretrain.log import truncate
from audio_ssl.pretrain.loop import train
from audio_ssl.pretrain.optim import OptimConfig, optimizer_tensors
from audio_ssl.pretrain.update import Updater
from tests.pretrain.conftest import MakeManifest
from tests.pretrain.processes import BlockLearner
from tests.pretrain.toy import ToyLearner, toy_job, toy_recipe, toy_setup


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def results(out: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "audio_seconds_per_second"} for row in rows(out)]


class KilledError(Exception):
    pass


class DyingLearner(ToyLearner):
    """Dies in the middle of an update, as kill -9 would."""

    def __init__(self, at_call: int) -> None:
        super().__init__()
        self.at_call = at_call

    def forward(self, batch: Batch, generator: torch.Generator, step: int) -> Any:
        if self.training and self.calls == self.at_call:
            raise KilledError
        return super().forward(batch, generator, step)


def test_resumed_run_repeats_the_uninterrupted_one_bit_for_bit(make_manifest: MakeManifest, tmp_path: Path) -> None:
    manifest = make_manifest()
    train(toy_job(manifest, tmp_path / "whole"))
    for at_call in (13, 7):
        with pytest.raises(KilledError):
            train(toy_job(manifest, tmp_path / "cut", learner=DyingLearner(at_call)))
    train(toy_job(manifest, tmp_path / "cut"))
    assert results(tmp_path / "cut") == results(tmp_path / "whole")
    assert [row["step"] for row in rows(tmp_path / "cut")] == list(range(1, 13))
    whole, cut = (checkpoints(tmp_path / name / "state")[-1] for name in ("whole", "cut"))
    for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()


def test_a_run_whose_newest_checkpoint_is_damaged_repeats_the_uninterrupted_one(
    make_manifest: MakeManifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = make_manifest()
    train(toy_job(manifest, tmp_path / "whole"))
    with pytest.raises(KilledError):
        train(toy_job(manifest, tmp_path / "cut", learner=DyingLearner(18)))
    newest = checkpoints(tmp_path / "cut" / "state")[-1]
    (newest / "model.safetensors").write_bytes((newest / "model.safetensors").read_bytes()[:-1])
    train(toy_job(manifest, tmp_path / "cut"))
    assert f"{newest} is damaged and was set aside" in caplog.text
    assert results(tmp_path / "cut") == results(tmp_path / "whole")
    whole, cut = (checkpoints(tmp_path / name / "state")[-1] for name in ("whole", "cut"))
    for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()


def test_rows_hold_the_promised_numbers_and_the_loss_falls(make_manifest: MakeManifest, tmp_path: Path) -> None:
    train(toy_job(make_manifest(), tmp_path, toy_recipe(steps=30)))
    for row in rows(tmp_path):
        assert {"step", "loss", "lr", "grad_norm", "audio_seconds_per_second", "mse", "skipped_steps"} <= row.keys()
    assert rows(tmp_path)[-1]["loss"] < 0.5 * rows(tmp_path)[0]["loss"]
    assert [row["step"] for row in rows(tmp_path) if "valid_loss" in row] == [6, 12, 18, 24, 30]
    assert list((tmp_path / "tensorboard").iterdir())


def test_last_and_best_checkpoints_are_kept(make_manifest: MakeManifest, tmp_path: Path) -> None:
    recipe = toy_recipe(steps=24, optim=OptimConfig(lr=0.5, warmup_steps=0, schedule="constant", clip_norm=None))
    train(toy_job(make_manifest(), tmp_path, recipe))
    kept = checkpoints(tmp_path / "state")
    assert [path.name for path in kept[-2:]] == ["step_20", "step_24"]
    best = best_checkpoint(tmp_path / "state")
    lowest = min((row for row in rows(tmp_path) if "valid_loss" in row), key=lambda row: row["valid_loss"])
    assert best is not None
    assert read_state(best).step == lowest["step"]
    assert {path.name for path in kept} == {"step_20", "step_24", best.name}
    assert not list(tmp_path.rglob("*.pt")) + list(tmp_path.rglob("*.pkl")) + list(tmp_path.rglob(".partial*"))


def test_a_signal_finishes_the_step_and_saves(make_manifest: MakeManifest, tmp_path: Path) -> None:
    class Signalled(ToyLearner):
        def forward(self, batch: Batch, generator: torch.Generator, step: int) -> Any:
            if self.training and self.calls == 10:
                os.kill(os.getpid(), signal.SIGUSR1)
            return super().forward(batch, generator, step)

    manifest = make_manifest()
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(StoppedBySignal, match=r"SIGUSR1.*step 6 of 12.*--resume"):
        train(toy_job(manifest, tmp_path / "cut", learner=Signalled()))
    assert signal.getsignal(signal.SIGUSR1) == before
    assert read_state(checkpoints(tmp_path / "cut" / "state")[-1]).step == len(rows(tmp_path / "cut"))
    train(toy_job(manifest, tmp_path / "cut"))
    train(toy_job(manifest, tmp_path / "whole"))
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


@pytest.mark.parametrize("make", [ToyLearner, lambda: BlockLearner(0.0)])
def test_update_without_finite_loss_is_skipped_and_counted(
    make: Callable[[], ToyLearner], make_manifest: MakeManifest, tmp_path: Path
) -> None:
    manifest, recipe = make_manifest(), toy_recipe()
    learner = make()
    updater = Updater(learner, recipe, 12, torch.device("cpu"))
    setup = toy_setup(toy_job(manifest, tmp_path).train.clips, recipe, tmp_path / "errors.jsonl")
    with Loader(setup, Position(0, 0), epochs=1) as loader:
        batches = [item for item in loader if isinstance(item, Batch)]
    updater.add(batches[0], 0)
    done = updater.finish(0)
    assert done is not None
    assert done.changed
    # Buffers that no checkpoint holds, too: what batch norm has gathered.
    before = {name: value.clone() for name, value in [*learner.named_parameters(), *learner.named_buffers()]}
    learner.break_at = {1}
    updater.add(batches[1], 1)
    done = updater.finish(1)
    assert done is not None
    assert not done.changed
    after = dict([*learner.named_parameters(), *learner.named_buffers()])
    assert all(torch.equal(before[name], value) for name, value in after.items())

    learner = make()
    learner.break_at = {5, 7}
    train(toy_job(manifest, tmp_path / "run", learner=learner))
    assert rows(tmp_path / "run")[-1]["skipped_steps"] == 2
    assert sum(row["loss"] is None for row in rows(tmp_path / "run")) == 2


def test_a_run_without_any_finite_loss_ends(make_manifest: MakeManifest, tmp_path: Path) -> None:
    learner = ToyLearner()
    learner.break_at = set(range(2000))
    with pytest.raises(UserError, match="100 updates in a row"):
        train(toy_job(make_manifest((1.0, 1.0)), tmp_path, toy_recipe(steps=500), learner))


@pytest.mark.parametrize("batch_seconds", [1.0, 2.0])
def test_accumulated_gradient_is_that_of_one_big_batch(
    make_manifest: MakeManifest, tmp_path: Path, batch_seconds: float
) -> None:
    recipe = toy_recipe(optim=OptimConfig(clip_norm=None))
    clips = toy_job(make_manifest(), tmp_path).train.clips

    def moments(batch_seconds: float) -> tuple[int, dict[str, torch.Tensor]]:
        learner = ToyLearner(dropout=0.0, noise=0.0)
        updater = Updater(learner, recipe, 10, torch.device("cpu"))
        setup = toy_setup(clips, recipe, tmp_path / "errors.jsonl", 100.0, batch_seconds)
        with Loader(setup, Position(0, 0), epochs=1) as loader:
            batches = [item for item in loader if isinstance(item, Batch)]
        for batch in batches:
            updater.add(batch, 0)
        updater.finish(0)
        # After one update Adam's first moment is the gradient times a constant.
        return len(batches), optimizer_tensors(learner, updater.optimizer)

    one, whole = moments(100.0)
    many, parts = moments(batch_seconds)
    assert one == 1 < many
    assert any(name.startswith("exp_avg.") and value.abs().max() > 1e-4 for name, value in whole.items())
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-5, atol=1e-9)


def test_rows_after_the_checkpoint_and_a_torn_last_line_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    truncate(tmp_path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(UserError, match=r"\$\.device.*no GPU"):
        choose_device("cuda")
