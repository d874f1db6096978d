"""The work shared out over processes gives what one process gives, whatever their number before a stop."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from audio_ssl.base.errors import UserError
from audio_ssl.data.store import ArrayStore
from audio_ssl.features import job
from audio_ssl.features.extract import extract
from audio_ssl.features.job import Job, ProcessShare
from audio_ssl.features.settings import Settings


@pytest.fixture
def many(tmp_path):
    """A folder of seven clips, one of which is none."""
    folder = tmp_path / "audio"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(7):
        soundfile.write(folder / f"{number}.wav", rng.normal(0, 0.1, 9000 + 500 * number).astype(np.float32), 16000)
    (folder / "3.wav").write_bytes(b"")
    return folder


def rows(out):
    found = [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in ("file", "bytes", "sha256")} for row in found]


def same(out, other):
    assert rows(out) == rows(other)
    assert not (out / ".index").exists()
    ours, theirs = ArrayStore(out / "store"), ArrayStore(other / "store")
    assert set(ours) == set(theirs)
    for clip in theirs:
        torch.testing.assert_close(ours[clip]["features"], theirs[clip]["features"], atol=1e-5, rtol=1e-4)
    errors = [json.loads(line)["reason"] for line in (out / "errors.jsonl").read_text().splitlines()]
    assert errors == ["the file is empty (0 bytes)"]


def test_torchrun_shares_the_work(many, run_folder, tmp_path):
    alone = extract(many, run_folder, tmp_path / "alone")
    program = (
        "import sys; from audio_ssl.features import job; job.WINDOW_CLIPS = 2;"
        "from audio_ssl.__main__ import main; main(sys.argv[1:])"
    )
    (tmp_path / "program.py").write_text(program)
    argv = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    argv += [str(tmp_path / "program.py"), "extract", str(many), run_folder, "--out", str(tmp_path / "f")]
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == 0, done.stderr
    # The leader alone speaks. What torch's Gloo says comes before it, at times with two processes' lines run together.
    assert done.stdout.splitlines()[-1] == str(tmp_path / "f")
    assert done.stdout.count(str(tmp_path / "f")) == 1
    assert len(list((tmp_path / "f" / "store").glob("shard-r000*.safetensors"))) == 2
    same(tmp_path / "f", alone)


def test_another_number_of_processes_goes_on(many, run_folder, tmp_path, monkeypatch):
    alone = extract(many, run_folder, tmp_path / "alone")
    monkeypatch.setattr(job, "WINDOW_CLIPS", 2)
    out = tmp_path / "f"
    todo = Job(str(many), run_folder, str(out), "all", "none", None, "safetensors", "float32", Settings())
    for rank in (0, 2):
        todo.run_share(ProcessShare(rank, 3), torch.device("cpu"))
    counts = []
    pieces = job.pieces

    def counted(items, *rest):
        for piece in pieces(items, *rest):
            counts.append(piece.clip.id)
            yield piece

    monkeypatch.setattr(job, "pieces", counted)
    # The claim of the folder comes first in a true run.
    extract(many, run_folder, out)
    assert sorted(counts) == ["2.wav"]
    same(out, alone)


def test_ray_shares_the_work(many, run_folder, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    from audio_ssl.features.engines import ray as ray_engine

    alone = extract(many, run_folder, tmp_path / "alone")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        out = extract(many, run_folder, tmp_path / "f", engine="ray", overrides=["ray_workers=2"])
        same(out, alone)
        with pytest.raises(UserError, match=r"no model|is no model"):
            broken = Job(str(many), "nothing", str(tmp_path / "g"), "all", "none", None, "npy", "float32", Settings())
            ray_engine.run(broken, lambda: None)
    finally:
        ray.shutdown()


def test_ray_is_not_started_by_every_process(many, run_folder, tmp_path, monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="starts processes of its own"):
        extract(many, run_folder, tmp_path / "f", engine="ray")
