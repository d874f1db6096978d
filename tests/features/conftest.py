import numpy as np
import pytest
import soundfile
import torch

from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, build_model


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A tiny saved model."""
    encoder = transformer.Config(layers=2, dim=16, ffn_dim=16, heads=2, position_kernel_frames=4, position_groups=2)
    model = build_model(ModelConfig(conv.Config(channels=(8,) * 7), encoder, 16000), torch.Generator().manual_seed(0))
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def audio(tmp_path):
    """A folder of a few good files."""
    folder = tmp_path / "audio"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, seconds in (("a.wav", 0.5), ("b.flac", 1.3), ("sub/a.wav", 0.9), ("sub/c.ogg", 0.7)):
        soundfile.write(folder / name, rng.normal(0, 0.1, int(16000 * seconds)).astype(np.float32), 16000)
    return folder
