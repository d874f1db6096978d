import numpy as np
import pytest
import soundfile
import torch

from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import conv
from audio_ssl.models.model import ModelConfig, build_model


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A tiny saved model."""
    encoder = transformer.Config(layers=2, dim=16, ffn_dim=16, heads=2, position_kernel_frames=4, position_groups=2)
    made = build_model(ModelConfig(conv.Config(channels=(8,) * 7), encoder, 16000), torch.Generator().manual_seed(0))
    folder = tmp_path_factory.mktemp("model")
    made.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def audio(tmp_path):
    """A folder of seven clips, one of which is none."""
    folder = tmp_path / "audio"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(7):
        tone = np.sin(np.arange(9000 + 500 * number) * 0.05 * (1 + number % 3))
        loud = (0.2 * tone + rng.normal(0, 0.02, len(tone))).astype(np.float32)
        soundfile.write(folder / f"{number}.wav", loud, 16000)
    (folder / "3.wav").write_bytes(b"")
    return folder
