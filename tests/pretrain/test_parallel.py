from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from audio_ssl.base.errors import UserError
from audio_ssl.base.launch import Place, first_host, read_place
from audio_ssl.data.loader import Batch, EndOfUpdate, Loader, Position
from audio_ssl.pretrain.checkpoint import checkpoints, read_state
from audio_ssl.pretrain.distributed import ALONE
from audio_ssl.pretrain.replicas import leaves
from tests.pretrain.conftest import MakeManifest
from tests.pretrain.processes import block_job, run_job, several, shared_out, slurm, start
from tests.pretrain.test_run import SMALL
from tests.pretrain.toy import toy_job


def rows(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "audio_seconds_per_second"} for row in lines]


def assert_same(one: Path, other: Path, final: Path | None = None) -> None:
    for left, right in zip(rows(one), rows(other), strict=True):
        assert left == pytest.approx(right, rel=1e-4)
    whole, mine = load_file(one / "final.safetensors"), load_file((final or other) / "final.safetensors")
    for name, value in whole.items():
        torch.testing.assert_close(mine[name], value, rtol=1e-4, atol=1e-5)


def single(manifest: Path, folder: Path, drop: float, name: str) -> Path:
    out = folder / name
    run_job(block_job(manifest, out, drop), ALONE, out)
    return out


def test_two_processes_train_stop_move_and_fail_as_one(make_manifest: MakeManifest, tmp_path: Path) -> None:
    manifest = make_manifest()
    start(several, 2, manifest, tmp_path)
    whole, dropped = single(manifest, tmp_path, 0.0, "whole"), single(manifest, tmp_path, 0.5, "dropped")
    for mode in ("ddp", "fsdp2"):
        assert_same(whole, tmp_path / f"{mode}_whole")
        assert_same(dropped, tmp_path / f"{mode}_dropped")
    assert rows(whole) != rows(dropped)
    # What no micro-batch uses stays as it was, weight decay included.
    assert torch.equal(load_file(tmp_path / "fsdp2_whole" / "final.safetensors")["idle"], torch.ones(3))

    # One process was sent a signal, both stopped after the same update, and a single process ends the run.
    for mode in ("ddp", "fsdp2"):
        assert (tmp_path / f"{mode}.0").read_text().startswith("False SIGUSR1 received")
        assert (tmp_path / f"{mode}.1").read_text().startswith("True SIGUSR1 received")
    stopped = read_state(checkpoints(tmp_path / "moved" / "state")[-1]).step
    assert 4 < stopped < 12
    run_job(block_job(manifest, tmp_path / "moved"), ALONE, tmp_path / "moved")
    assert_same(whole, tmp_path / "moved")

    # The time of one process was over, both ended after the same update, and went on to the same end.
    assert [(tmp_path / f"timed.True.{rank}").read_text() for rank in (0, 1)] == ["1", "1"]
    assert [(tmp_path / f"timed.False.{rank}").read_text() for rank in (0, 1)] == ["12", "12"]
    assert rows(tmp_path / "timed") == rows(tmp_path / "ddp_whole")

    assert (tmp_path / "failed.0").read_text() == "False store: the store is gone [process 1 of 2] (find it)"
    assert (tmp_path / "failed.1").read_text().startswith("True store: the store is gone")
    assert "False" in (tmp_path / "unusable.0").read_text()
    assert "none of the 6 clips can be used" in (tmp_path / "unusable.1").read_text()


def test_four_processes_of_which_some_have_nothing_to_do_train_as_one(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    manifest = make_manifest()
    start(shared_out, 4, manifest, tmp_path)
    assert_same(single(manifest, tmp_path, 0.0, "whole"), tmp_path / "ddp_whole")
    assert_same(single(manifest, tmp_path, 0.5, "dropped"), tmp_path / "fsdp2_dropped")


@pytest.mark.parametrize("number", [2, 4, 7])
def test_processes_share_out_every_micro_batch_and_have_equally_many(
    make_manifest: MakeManifest, tmp_path: Path, number: int
) -> None:
    setup = toy_job(make_manifest(), tmp_path).train
    (tmp_path / "audio" / "2.wav").unlink()

    def items(rank: int, number: int) -> list[Batch | EndOfUpdate]:
        with Loader(setup, Position(0, 0), 2, rank, number) as loader:
            return list(loader)

    def counted(items: list[Batch | EndOfUpdate]) -> list[tuple[int, ...]]:
        return sorted(item.keys for item in items if isinstance(item, Batch) and item.counts)

    shares = [items(rank, number) for rank in range(number)]
    assert sorted(keys for share in shares for keys in counted(share)) == counted(items(0, 1))
    kinds = [[(type(item), getattr(item, "last", None)) for item in share] for share in shares]
    assert all(kind == kinds[0] for kind in kinds)
    assert any(isinstance(item, Batch) and not item.counts for share in shares for item in share)


def processes(number: int, *words: str) -> list[subprocess.Popen[str]]:
    job = random.SystemRandom().randrange(10**6)
    base = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "audio_ssl", "pretrain", *words]
    pipe = subprocess.PIPE
    return [
        subprocess.Popen(command, env=base | slurm(rank, number, job), stdout=pipe, stderr=pipe, text=True)
        for rank in range(number)
    ]


def test_under_srun_one_process_writes_and_errors_are_said_once(make_manifest: MakeManifest, tmp_path: Path) -> None:
    manifest, recipe = make_manifest(), tmp_path / "small.yaml"
    recipe.write_text(SMALL.replace("seconds_per_batch: 2.0", "seconds_per_batch: 1.0"))
    (tmp_path / "audio" / "0.wav").write_bytes(b"RIFF")
    out = tmp_path / "run"
    words = [str(recipe), f"data.manifest={manifest}", "steps=3", "parallel=fsdp2", "--out", str(out)]
    ended = [(*process.communicate(), process.returncode) for process in processes(2, *words)]
    assert [status for _, _, status in ended] == [0, 0], ended
    assert str(out) in ended[0][0]
    assert str(out) not in ended[1][0]
    assert [row["step"] for row in rows(out)] == [1, 2, 3]
    assert "0.wav" in (out / "errors.jsonl").read_text()
    assert not list(out.glob("errors.rank*"))

    ended = [(*process.communicate(), process.returncode) for process in processes(2, *words)]
    assert [status for _, _, status in ended] == [2, 2]
    assert sum(error.count("error:") for _, error, _ in ended) == 1
    assert "the folder is not empty" in ended[0][1]


def test_places_are_read_from_torchrun_and_from_srun() -> None:
    torchrun = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    assert read_place(torchrun) == Place(3, 8, 1, "env://")
    assert read_place({**torchrun, "WORLD_SIZE": "1"}) is None
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_ID": "1", "SLURM_STEP_NODELIST": "b[4,7]"}
    assert read_place({**slurm(1, 4, 20_003), **step}) == Place(1, 2, 1, "tcp://b4:15004")
    # The batch script itself is no task of srun's.
    assert read_place({**slurm(0, 4, 1), "ENVIRONMENT": "BATCH"}) is None
    assert read_place({**slurm(0, 1, 1)}) is None
    assert first_host("n[1-3]x[07-09],m") == "n1x07"
    with pytest.raises(UserError, match="MASTER_ADDR is not set"):
        read_place({"RANK": "0", "WORLD_SIZE": "2"})
    with pytest.raises(UserError, match="SLURM_LOCALID must be a number, but is ``"):
        read_place({name: value for name, value in slurm(0, 2, 1).items() if name != "SLURM_LOCALID"})
    with pytest.raises(UserError, match="SLURM_NODELIST is not set"):
        read_place({"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0"})


def test_leaves_are_what_a_loss_depends_on() -> None:
    a, b, c = (torch.ones(2, requires_grad=True) for _ in range(3))
    assert leaves((a * b.exp()).sum()) == {id(a), id(b)}
    assert id(c) not in leaves(a.sum())
