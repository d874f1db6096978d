"""The CQT teacher beside nnAudio and librosa: seconds of audio per second, and error against a float64 reference.

Run ``python benchmarks/cqt.py``; prints a table and writes ``benchmarks/results/cqt.json``.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
from nnAudio.features.cqt import CQT1992v2
from nnAudio.utils import create_cqt_kernels

from audio_ssl.atomic import write_json
from audio_ssl.teachers import cqt

SECONDS, RATE, HOP, BINS, OCTAVE, FMIN = 10, 24_000, 320, 336, 48, 32.7
RUNS = 3


def reference(samples: np.ndarray, frames: list[int]) -> np.ndarray:
    """Return dense float64 magnitudes of some frames, ``[frame, bin]``."""
    kernels, width, lengths, _ = create_cqt_kernels(
        1 / (2 ** (1 / OCTAVE) - 1), RATE, FMIN, BINS, OCTAVE, topbin_check=False
    )
    padded = np.pad(samples.astype(np.float64), int(width) // 2)
    windows = np.stack([padded[f * HOP : f * HOP + int(width)] for f in frames])
    magnitude: np.ndarray = np.abs(windows @ kernels.astype(np.complex128).conj().T) * np.sqrt(lengths.numpy())
    return magnitude


def seconds_per_call(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    rng = np.random.default_rng(0)
    moments = np.arange(SECONDS * RATE) / RATE
    samples = (np.sin(2 * np.pi * 440 * moments) + 0.1 * rng.normal(size=len(moments))).astype(np.float32)
    waveform = torch.from_numpy(samples)
    ours = cqt.build(cqt.Config(), RATE, torch.device("cpu"))
    theirs = CQT1992v2(
        sr=RATE, hop_length=HOP, fmin=FMIN, n_bins=BINS, bins_per_octave=OCTAVE, pad_mode="constant", verbose=False
    )

    def with_librosa() -> object:
        return librosa.cqt(samples, sr=RATE, hop_length=HOP, fmin=FMIN, n_bins=BINS, bins_per_octave=OCTAVE)

    frames = list(range(0, SECONDS * RATE // HOP, 25))
    exact = reference(samples, frames)
    rows: list[dict[str, Any]] = []
    for name, work, values in (
        ("audio_ssl cqt", lambda: ours(waveform), ours(waveform)[frames].numpy()),
        ("nnAudio CQT1992v2", lambda: theirs(waveform[None]), theirs(waveform[None])[0].T[frames].numpy()),
        ("librosa.cqt", with_librosa, None),
    ):
        speed = SECONDS / seconds_per_call(work)
        error = None if values is None else float(np.abs(values - exact).max() / exact.max())
        rows.append({"system": name, "times_real_time": round(speed, 1), "relative_error": error})
    print(f"{BINS} bins, {RATE} Hz, hop {HOP}, {SECONDS} s, {torch.get_num_threads()} threads")
    for row in rows:
        measured = row["relative_error"]
        shown = "" if measured is None else f"error {measured:.1e}"
        print(f"{row['system']:<20} {row['times_real_time']:>8} x real time   {shown}")
    out = Path(__file__).parent / "results" / "cqt.json"
    write_json(out, {"settings": {"seconds": SECONDS, "threads": torch.get_num_threads()}, "rows": rows})
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
