"""Whole artifacts to damage, small enough that a command on them takes a fraction of a second."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import torch
from safetensors.torch import save_file
from sklearn.cluster import KMeans

from audio_ssl.__main__ import run
from audio_ssl.data.manifest import Clip

RATE = 16_000
WORDS = ("the", "sea", "is", "old", "and", "blue", "but", "not", "so", "deep")

RECIPE = """# A run of a few seconds.
kind: masked_prediction
steps: 8
seed: 3
device: cpu
data: {sample_rate: 16000, crop_seconds: 1.0, min_seconds: 0.5, seconds_per_update: 2.0, seconds_per_batch: 2.0}
optim: {lr: 1.0e-3, warmup_steps: 2}
frontend: {kind: mel, n_mels: 20}
encoder: {kind: transformer, layers: 1, dim: 16, ffn_dim: 16, heads: 2, position_kernel_frames: 4, position_groups: 2}
teachers:
  - {kind: random_projection, n_mels: 20, stack: 4, codebook_size: 16}
objectives:
  - {kind: masked_codes, teacher: 0, final_dim: 8}
checkpoint: {every: 2, keep_last: 2, valid_every: 100}
"""
PROBE = """# A probe of a second.
task: {kind: key}
head: {kind: mlp, hidden_dim: 8}
optim: {lrs: [1.0e-3], steps: 4, batch_clips: 8, eval_every: 2}
baselines: []
"""
UNITS = ("units", "m.jsonl", "logmel", "--layer", "0", "--clusters", "4", "fit.frames=400")
"""The command of `units`, which is run again on what was damaged."""


def wave(seconds: float, seed: int) -> npt.NDArray[np.float32]:
    """Return a tone in noise."""
    rng = np.random.default_rng(seed)
    time_axis = np.arange(round(seconds * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 110 * (1 + seed % 8) * time_axis)
    return np.asarray(tone + 0.05 * rng.standard_normal(len(time_axis)), dtype=np.float32)


def audio(folder: Path, suffix: str) -> None:
    """A whole file beside one of the format asked for, three seconds each."""
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / "whole.wav", wave(1.0, 0), RATE)
    path = folder / f"damaged{suffix}"
    if suffix == ".m4a":
        _with_av(path, wave(3.0, 1))
    else:
        soundfile.write(path, wave(3.0, 1), RATE)


def _with_av(path: Path, samples: npt.NDArray[np.float32]) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        for start in range(0, len(samples), 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def manifest(folder: Path) -> None:
    """Sixteen clips of four speakers with audio, texts, keys and splits; paths are relative."""
    (folder / "audio").mkdir()
    clips = []
    for number in range(16):
        seconds = 1.0 + number % 3 / 4
        soundfile.write(folder / "audio" / f"{number}.flac", wave(seconds, number), RATE)
        clips.append(
            Clip(
                f"clip{number}", f"audio/{number}.flac", 0.0, seconds, RATE, text=" ".join(WORDS[: 2 + number % 5]),
                label=("C major", "A minor")[number % 2], speaker=f"s{number % 4}", gender="FM"[number % 2],
                split=("train", "train", "valid", "test")[number // 2 % 4],
            )
        )  # fmt: skip
    # As a manifest that somebody has sent: paths are relative to it, so that the folder can be copied.
    (folder / "m.jsonl").write_text("".join(json.dumps(clip.row()) + "\n" for clip in clips), encoding="utf-8")


def predictions(folder: Path) -> None:
    """The same predictions of 48 clips by twelve speakers as CSV, TSV, JSON Lines and parquet."""
    rng = random.Random(0)
    rows = []
    for number in range(48):
        words = rng.choices(WORDS, k=rng.randint(3, 6))
        heard = [rng.choice(WORDS) if rng.random() < 0.2 else word for word in words]
        speaker = number % 12
        row = {"id": f"u{number}", "reference": " ".join(words), "hypothesis": " ".join(heard)}
        rows.append(
            {**row, "speaker": f"s{speaker}", "gender": "FM"[speaker % 2], "seconds": round(rng.uniform(1, 9), 2)}
        )
    for suffix, mark in ((".csv", ","), (".tsv", "\t")):
        with (folder / f"p{suffix}").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], delimiter=mark, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), folder / "p.parquet")


def _command(*argv: object) -> None:
    # As in the process that runs commands.
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):
        status = run([str(word) for word in argv])
    assert status == 0, argv


def cards(folder: Path) -> None:
    """A recipe, a probe, and what they need."""
    manifest(folder)
    (folder / "r.yaml").write_text(RECIPE, encoding="utf-8")
    (folder / "p.yaml").write_text(PROBE, encoding="utf-8")


def finished_run(folder: Path) -> None:
    """A run, whole."""
    cards(folder)
    with contextlib.chdir(folder):
        _command("pretrain", "r.yaml", "data.manifest=m.jsonl", "--out", "run")


def killed_run(folder: Path) -> None:
    """A run that was killed after some checkpoints, beside the same run that was not: ``whole``."""
    cards(folder)
    words = ["pretrain", "r.yaml", "data.manifest=m.jsonl", "--out"]
    argv = [sys.executable, "-W", "ignore", "-m", "audio_ssl", *words]
    # Sums in another order have other last bits, so one thread everywhere.
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*argv, "whole"], cwd=folder, check=True, capture_output=True, env=alone)
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen([*argv, "run"], cwd=folder, stdout=nowhere, stderr=nowhere, env=alone)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if (folder / "run" / "state" / "step_4").exists():
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.wait()
    assert (folder / "run" / "state" / "step_4").exists()


def features(folder: Path) -> None:
    """A feature store of two shards' worth of clips, finished."""
    manifest(folder)
    for layout in ("safetensors", "npy", "parquet"):
        with contextlib.chdir(folder):
            _command("extract", "m.jsonl", "logmel", "--pool", "mean", "--format", layout, "--out", layout)


def result(folder: Path) -> None:
    """A probe's result."""
    cards(folder)
    with contextlib.chdir(folder):
        _command("probe", "p.yaml", "logmel", "data.manifest=m.jsonl", "--out", "result")


def units(folder: Path) -> None:
    """Units of sixteen clips by a code book that was fitted to them."""
    manifest(folder)
    with contextlib.chdir(folder):
        _command(*UNITS, "--out", "u")


def code_books(folder: Path) -> None:
    """One code book as three libraries keep it."""
    units(folder)
    fitted = KMeans(4, n_init=1, random_state=0).fit(np.random.default_rng(0).standard_normal((64, 80)).astype("f4"))
    joblib.dump(fitted, folder / "km.bin")
    np.save(folder / "km.npy", fitted.cluster_centers_)
    save_file({"centroids": torch.from_numpy(fitted.cluster_centers_)}, folder / "km.safetensors")


def predicted(folder: Path) -> None:
    """A probe's result, and what its head says of all clips."""
    result(folder)
    with contextlib.chdir(folder):
        _command("predict", "result", "m.jsonl", "--out", "said")
