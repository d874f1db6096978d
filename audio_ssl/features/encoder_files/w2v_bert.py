"""w2v-BERT 2.0, of transformers: `w2v_bert:facebook/w2v-bert-2.0`; mel filter banks, two of 10 ms a frame.

Barrault et al. 2023, arXiv 2312.05187. Bands have zero mean and unit variance over the clip, by its feature extractor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoFeatureExtractor, Wav2Vec2BertModel

SAMPLE_RATE = 16000
HOP_SECONDS = 0.02


def load(model: str, device: torch.device) -> Any:
    """Return the model of a folder, or of a name on the hub."""
    encoder = Wav2Vec2BertModel.from_pretrained(model)
    encoder.extractor = AutoFeatureExtractor.from_pretrained(model)
    return encoder.to(device)


def encode(waveforms: Tensor, lengths: Tensor, model: Any) -> Sequence[Tensor]:
    """Return the hidden states of one clip."""
    given = model.extractor(waveforms[0].cpu().numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
    found: Sequence[Tensor] = model(**given.to(waveforms.device), output_hidden_states=True).hidden_states
    return found
