"""Whisper's encoder, of transformers: `whisper:openai/whisper-base`; log-mel windows of 30 s, frames of the clip alone.

Radford et al. 2022, arXiv 2212.04356. Whisper always hears 30 s, with silence after a clip; longer audio is given in
pieces. Only the frames of the clip are kept. There is one hidden state for the input of the first block and one for
each block, the last after the final norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoFeatureExtractor, WhisperModel

SAMPLE_RATE = 16000
HOP_SECONDS = 0.02
LONGEST_SECONDS = 30.0


def load(model: str, device: torch.device) -> Any:
    """Return the encoder of a folder, or of a name on the hub."""
    encoder = WhisperModel.from_pretrained(model).encoder
    encoder.extractor = AutoFeatureExtractor.from_pretrained(model)
    return encoder.to(device)


def encode(waveforms: Tensor, lengths: Tensor, model: Any) -> Sequence[Tensor]:
    """Return the hidden states of one clip."""
    given = model.extractor(waveforms[0].cpu().numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
    states = model(given.input_features.to(waveforms.device), output_hidden_states=True).hidden_states
    frames = -(-waveforms.shape[1] // 320)
    return [state[:, :frames] for state in states]
