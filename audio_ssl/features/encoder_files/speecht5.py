"""SpeechT5's speech encoder, of transformers: `speecht5:microsoft/speecht5_asr`; convolutions as wav2vec 2.0 has them.

Ao et al. 2022, arXiv 2110.07205.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoFeatureExtractor, SpeechT5ForSpeechToText

SAMPLE_RATE = 16000
HOP_SECONDS = 0.02


def load(model: str, device: torch.device) -> Any:
    """Return the encoder of a folder, or of a name on the hub."""
    encoder = SpeechT5ForSpeechToText.from_pretrained(model).speecht5.encoder
    encoder.extractor = AutoFeatureExtractor.from_pretrained(model)
    return encoder.to(device)


def encode(waveforms: Tensor, lengths: Tensor, model: Any) -> Sequence[Tensor]:
    """Return the hidden states of one clip."""
    given = model.extractor(audio=waveforms[0].cpu().numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
    found: Sequence[Tensor] = model(given.input_values.to(waveforms.device), output_hidden_states=True).hidden_states
    return found
