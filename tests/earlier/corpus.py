"""Audio that is the same wherever it is made: what the recorded numbers of `tests/earlier` were computed on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

_SECONDS = (1.1, 1.3, 1.6, 1.2, 1.4, 1.5, 2.1, 1.9)
RATE = 16000


def wave(number: int, seconds: float) -> np.ndarray:
    """Return a chord whose tones come and go, and noise: float32, made from integers and sines alone."""
    samples = round(seconds * RATE)
    time = np.arange(samples) / RATE
    sound = np.zeros(samples)
    for tone in range(4):
        hz = 110.0 * (number + 1) * (tone + 1) ** 1.1
        sound += np.sin(2 * np.pi * hz * time) * (np.sin(2 * np.pi * (0.7 + tone) * time) > 0) / (tone + 2)
    # A linear congruential generator: no library's random numbers, which may change, are needed.
    state = np.empty(samples, dtype=np.int64)
    value = 12345 + number
    for index in range(samples):
        value = (1103515245 * value + 12345) % 2**31
        state[index] = value
    noise = state / 2**30 - 1
    return (0.2 * sound + 0.05 * noise).astype(np.float32)


def make_corpus(folder: Path) -> Path:
    """Write the clips as WAV and their manifest, whose bytes are always the same; return the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, seconds in enumerate(_SECONDS):
        sound = wave(number, seconds)
        soundfile.write(folder / f"{number}.wav", sound, RATE, subtype="FLOAT")
        row = {"id": f"clip{number}", "path": f"{number}.wav", "start": 0.0, "seconds": len(sound) / RATE}
        rows.append(json.dumps({**row, "sample_rate": RATE}) + "\n")
    (folder / "clips.jsonl").write_text("".join(rows))
    return folder / "clips.jsonl"
