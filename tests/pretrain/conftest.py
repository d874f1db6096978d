"""Synthetic clips and a toy learner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_ssl.data.manifest import Clip, write_manifest

MakeManifest = Callable[..., Path]


@pytest.fixture
def make_manifest(tmp_path: Path) -> MakeManifest:
    """Write a manifest of noisy tones; clip i lasts ``seconds[i]``."""

    def make(seconds: tuple[float, ...] = (1.2, 1.5, 1.1, 2.0, 1.3, 1.4), rate: int = 16000, **row: str) -> Path:
        folder = tmp_path / "audio"
        folder.mkdir(exist_ok=True)
        rng = np.random.default_rng(0)
        clips = []
        for number, length in enumerate(seconds):
            samples = round(length * rate)
            time = np.arange(samples) / rate
            wave = 0.3 * np.sin(2 * np.pi * 110 * (number + 1) * time) + 0.05 * rng.standard_normal(samples)
            path = folder / f"{number}.wav"
            soundfile.write(path, wave.astype(np.float32), rate, subtype="FLOAT")
            clips.append(Clip(f"clip{number}", str(path), 0.0, samples / rate, rate, **row))
        manifest = tmp_path / "m.jsonl"
        write_manifest(manifest, clips)
        return manifest

    return make
