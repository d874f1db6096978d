"""A killed or stopped extraction goes on, and ends as if nothing had happened."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from audio_ssl.features.extract import extract


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(150):
        soundfile.write(folder / f"{number:03d}.wav", rng.normal(0, 0.1, 16000).astype(np.float32), 16000)
    return folder


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 75)])
def test_a_stopped_extraction_goes_on(clips, run_folder, tmp_path, sent, status):
    out = tmp_path / "f"
    argv = ["extract", str(clips), run_folder, "batch_seconds=2", "--format", "npy", "--out", str(out)]
    process = subprocess.Popen([sys.executable, "-m", "audio_ssl", *argv], stderr=subprocess.PIPE, text=True)
    journal = out / ".index" / "rows.jsonl"
    deadline = time.monotonic() + 100
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 5):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    before = {path.name: path.stat().st_mtime_ns for path in out.rglob("*.npy") if not path.name.startswith(".")}
    assert 5 < len(before) < 150
    assert not (out / "index.jsonl").exists()
    for name in before:
        # Whole, whatever hit it.
        assert np.load(out / name).shape == (3, 49, 16)
    extract(clips, run_folder, out, format="npy", overrides=["batch_seconds=2"])
    rows = [json.loads(line)["id"] for line in (out / "index.jsonl").read_text().splitlines()]
    assert rows == [f"{number:03d}.wav" for number in range(150)]
    again = [name for name, written in before.items() if (out / name).stat().st_mtime_ns != written]
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]
    # A file may be written whose row was not yet.
    assert len(again) <= 1
