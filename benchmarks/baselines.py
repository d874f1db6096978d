"""What the baselines of probes cost: CPU time for one clip of music-like sound, beside that of log-mel.

Run ``python benchmarks/baselines.py``. The clip is 30 s of chords in noise, the same in every run; the least of three
rounds of each baseline counts, after one that is not counted (librosa compiles parts of itself).
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch import Tensor

from audio_ssl.features.baselines import baselines, features_of
from audio_ssl.features.source import open_source

RATE = 16_000


def clip(seconds: float) -> Tensor:
    """Return chords that change twice a second, in noise."""
    rng, times = np.random.default_rng(0), np.arange(int(seconds * RATE)) / RATE
    root = 220 * 2 ** (rng.integers(0, 12, int(2 * seconds) + 1)[(2 * times).astype(int)] / 12)
    phase = 2 * np.pi * np.cumsum(root) / RATE
    chord = sum(np.sin(phase * 2 ** (step / 12)) for step in (0, 4, 7))
    return torch.from_numpy((0.2 * chord + rng.normal(0, 0.01, len(times))).astype(np.float32))


def cpu_seconds(name: str, waveform: Tensor, rounds: int) -> float:
    """Return the least CPU time of a baseline for the clip."""
    source, lengths = open_source(name), torch.tensor([len(waveform)])
    found = []
    for _ in range(rounds + 1):
        begun = time.process_time()
        source(waveform[None], lengths)
        found.append(time.process_time() - begun)
    return min(found[1:])


def main() -> None:
    """Print the CPU time of each baseline, and of each of librosa's features."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    waveform = clip(args.seconds)
    names = [*baselines(), *(f"librosa:{feature}" for feature in features_of("librosa"))]
    spent = {name: cpu_seconds(name, waveform, args.rounds) for name in names}
    for name, seconds in sorted(spent.items(), key=lambda one: one[1]):
        ratio = seconds / spent["logmel"]
        print(f"{name:<18} {seconds:7.3f} s of a core for {args.seconds:g} s of sound, {ratio:6.1f} x log-mel")


if __name__ == "__main__":
    main()
