"""Noise in four files."""

import numpy as np
import pytest
import soundfile

from tests.probing.toys import clip


@pytest.fixture
def sounds(tmp_path):
    made = []
    for number in range(4):
        wave = np.random.default_rng(number).normal(0, 0.1, 16000 + 1000 * number)
        soundfile.write(tmp_path / f"{number}.wav", wave, 16000)
        made.append(clip(f"{number}", str(tmp_path / f"{number}.wav"), seconds=len(wave) / 16000))
    return made
