"""Noise in four files."""

import numpy as np
import pytest
import soundfile

from tests.probing.toys import clip, write_model


@pytest.fixture
def sounds(tmp_path):
    made = []
    for number in range(4):
        wave = np.random.default_rng(number).normal(0, 0.1, 16000 + 1000 * number)
        soundfile.write(tmp_path / f"{number}.wav", wave, 16000)
        made.append(clip(f"{number}", str(tmp_path / f"{number}.wav"), seconds=len(wave) / 16000))
    return made


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("small_model"))
