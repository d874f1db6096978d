"""What a user reads when something is wrong at the start: one line, nothing made, and the same under torchrun."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from audio_ssl import __main__
from audio_ssl.base.launch import tell_launcher

ALONE = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "NETRC"))}


@pytest.fixture
def manifest(tmp_path, capsys):
    folder = tmp_path / "some music"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", rng.normal(0, 0.1, 24000).astype(np.float32), 16000)
    out = tmp_path / "some music.jsonl"
    assert __main__.run(["manifest", str(folder), "--out", str(out)]) == 0
    capsys.readouterr()
    return out


def test_wandb_without_a_login_is_one_line_before_anything_is_made(manifest, tmp_path):
    pytest.importorskip("wandb")
    argv = ["pretrain", "demo", f"data.manifest={manifest}", "wandb=true", "--out", "run"]
    done = subprocess.run(
        [sys.executable, "-m", "audio_ssl", *argv],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**ALONE, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: $.wandb: `wandb` is true, but nobody is logged in")
    assert "`wandb login` logs in" in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "wandb").exists()


def test_wandb_without_the_package_is_one_line_before_anything_is_made(manifest, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    argv = ["pretrain", "demo", f"data.manifest={manifest}", "wandb=true", "--out", str(tmp_path / "run")]
    assert __main__.run(argv) == 2
    assert "the package wandb cannot be imported (pip install wandb)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_last_lines_under_torchrun_say_what_is_wrong(tmp_path):
    words = ["--nproc-per-node=2", "--standalone", "-m", "audio_ssl", "pretrain", "demo", "bad.key=1", "--out", "run"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.rstrip().splitlines()[-2]
    assert last.split(" : ", 1)[1].startswith("error: $: unknown key `bad`; known: ")
    assert not (tmp_path / "run").exists()


def test_other_launchers_are_told_nothing(tmp_path):
    tell_launcher({}, "error: x")
    tell_launcher({"TORCHELASTIC_ERROR_FILE": str(tmp_path / "gone" / "error.json")}, "error: x")
    assert list(tmp_path.iterdir()) == []
