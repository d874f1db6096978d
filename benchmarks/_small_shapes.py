"""Models of about the shape of one that ships, with random weights: what they cost does not depend on the weights."""

from __future__ import annotations

from pathlib import Path

import torch

from audio_ssl.models.encoders import transformer
from audio_ssl.models.frontends import concat, cqt, mel
from audio_ssl.models.model import ModelConfig, build_model

RATE = 16_000


def _encoder(layers: int, dim: int, heads: int) -> transformer.Config:
    return transformer.Config(
        layers=layers,
        dim=dim,
        ffn_dim=4 * dim,
        heads=heads,
        pre_norm=True,
        position_kernel_frames=32,
    )


def _both(hop_samples: int) -> concat.Config:
    """Return 80 mel bands of 10 ms, stacked to the hop, beside 168 constant-Q bins."""
    bands = mel.Config(n_mels=80, stack=hop_samples // 160, normalize=False)
    return concat.Config((bands, cqt.Config(n_bins=168, hop_samples=hop_samples)))


SHAPES = {
    "mel, 50 frames/s, 4 x 256": ModelConfig(mel.Config(80, stack=2, normalize=False), _encoder(4, 256, 4), RATE),
    "mel + CQT, 25 frames/s, 6 x 320": ModelConfig(_both(640), _encoder(6, 320, 5), RATE),
    "mel + CQT, 50 frames/s, 6 x 320": ModelConfig(_both(320), _encoder(6, 320, 5), RATE),
}


def save(name: str, folder: Path) -> Path:
    """Write a model of a shape as it would ship, in float16."""
    model = build_model(SHAPES[name], torch.Generator().manual_seed(0)).eval()
    model.save_pretrained(folder, "float16")
    return folder
