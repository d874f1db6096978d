"""Audio Spectrogram Transformer, of transformers: `ast:MIT/ast-finetuned-audioset-10-10-0.4593`; ten frames a second.

Gong et al. 2021, arXiv 2104.01778. A frame is the mean of the patches of all bands at one time. AST always hears the
same length, 10.24 s in the published models, with silence after a clip; longer audio is given in pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import ASTModel, AutoFeatureExtractor

SAMPLE_RATE = 16000
HOP_SECONDS = 0.1
LONGEST_SECONDS = 10.1
"""101 patches in time, of the published models."""


def load(model: str, device: torch.device) -> Any:
    """Return the model of a folder, or of a name on the hub."""
    encoder = ASTModel.from_pretrained(model)
    encoder.extractor = AutoFeatureExtractor.from_pretrained(model)
    return encoder.to(device)


def encode(waveforms: Tensor, lengths: Tensor, model: Any) -> Sequence[Tensor]:
    """Return the hidden states of one clip."""
    given = model.extractor(waveforms[0].cpu().numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
    states = model(given.input_values.to(waveforms.device), output_hidden_states=True).hidden_states
    sizes = model.config
    bands = (sizes.num_mel_bins - sizes.patch_size) // sizes.frequency_stride + 1
    frames = -(-waveforms.shape[1] // 1600)
    # Two tokens stand before the patches, which go through all times of a band before the next one.
    return [state[:, 2:].unflatten(1, (bands, -1)).mean(1)[:, :frames] for state in states]
