"""Masked prediction of discrete codes (HuBERT, Hsu et al. 2021, section II-C; MERT with 8 EnCodec codebooks).

Cosine similarity of the projected frame and each code's embedding, over a temperature, and cross-entropy. Only masked
frames are projected, and similarities are one matrix product of normalised rows: for 2,400 frames and 504 classes 5 MB
where the published code's ``cosine_similarity`` over expanded tensors takes 1.2 GB.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.data.targets import TargetSpec
from audio_ssl.errors import UserError
from audio_ssl.objectives._base import Metrics, Needs, ObjectiveOutput, View, require_targets

NEEDS: Needs = "codes"


@dataclass(frozen=True)
class Config:
    """Head and weight of the loss."""

    teacher: int = 0
    """Index of the teacher in the recipe."""

    weight: float = 1.0
    """Factor of this loss in the total."""

    head: str = "cosine"
    """``cosine`` (HuBERT, MERT) or ``linear`` (Fast-HuBERT, MelHuBERT, BEST-RQ)."""

    final_dim: int = 64
    """Width of the code embeddings (MERT 95M: 64, HuBERT base: 256)."""

    temperature: float = 0.1
    """Divides the cosine (HuBERT, MERT: 0.1)."""

    code_init: str = "uniform"
    """Start of the code embeddings: ``uniform`` in [0, 1), so nearly parallel (HuBERT, MERT), or ``normal``."""


class MaskedCodes(nn.Module):
    """One untied head per codebook; the loss is the sum over codebooks."""

    def __init__(self, config: Config, hidden_dim: int, codebooks: int, classes: int) -> None:
        super().__init__()
        self._codebooks, self._classes, self._temperature = codebooks, classes, config.temperature
        self._cosine = config.head == "cosine"
        width = config.final_dim if self._cosine else classes
        self.projection = nn.Linear(hidden_dim, codebooks * width)
        nn.init.normal_(self.projection.weight, std=0.02)
        nn.init.zeros_(self.projection.bias)
        if self._cosine:
            codes = torch.empty(codebooks, classes, width)
            self.codes = nn.Parameter(codes.uniform_() if config.code_init == "uniform" else codes.normal_())

    def forward(self, view: View) -> ObjectiveOutput:
        """Return the loss over masked frames, accuracy and perplexity of each codebook."""
        assert view.targets is not None
        hidden, mask = view.hidden[-1], view.counted
        wanted = view.targets[mask]
        projected = self.projection(hidden[mask]).unflatten(-1, (self._codebooks, -1))
        loss = hidden.new_zeros((), dtype=torch.float32)
        metrics: Metrics = {}
        for codebook in range(self._codebooks):
            logits = self._logits(projected[:, codebook], codebook)
            loss = loss + F.cross_entropy(logits, wanted[:, codebook], reduction="sum")
            metrics |= _codebook_metrics(logits.detach(), wanted[:, codebook], codebook)
        return ObjectiveOutput(loss, mask.sum(), metrics)

    def _logits(self, projected: Tensor, codebook: int) -> Tensor:
        if not self._cosine:
            return projected.float()
        # float32 also under autocast: a bf16 cosine over 0.1 is off by up to 0.04.
        with torch.autocast(projected.device.type, enabled=False):
            rows = F.normalize(projected.float(), dim=-1)
            return rows @ F.normalize(self.codes[codebook].float(), dim=-1).T / self._temperature


def _codebook_metrics(logits: Tensor, wanted: Tensor, codebook: int) -> Metrics:
    frames = torch.tensor(len(wanted), device=wanted.device)
    predicted = logits.argmax(-1)
    metrics = {f"accuracy_{codebook}": ((predicted == wanted).sum(), frames)}
    for name, codes in (("code_perplexity", wanted), ("predicted_perplexity", predicted)):
        # Weighted by frames, so that the mean over the batches of an update is one number per codebook.
        metrics[f"{name}_{codebook}"] = (_perplexity(codes, logits.shape[-1]) * frames, frames)
    return metrics


def _perplexity(codes: Tensor, classes: int) -> Tensor:
    share = torch.bincount(codes, minlength=classes).float()
    share = share / share.sum().clamp(min=1)
    return torch.exp(-(share * share.clamp(min=1e-12).log()).sum())


def build(config: Config, hidden_dim: int, feature_dim: int, target: TargetSpec | None) -> MaskedCodes:
    """Make the head for a teacher of codes; UserError for another teacher or an unknown head."""
    spec = require_targets("masked_codes", "codes", config.teacher, target)
    if config.head not in ("cosine", "linear"):
        raise UserError(f"`head` must be cosine or linear, but is `{config.head}`")
    if config.code_init not in ("uniform", "normal"):
        raise UserError(f"`code_init` must be uniform or normal, but is `{config.code_init}`")
    assert spec.num_classes is not None
    return MaskedCodes(config, hidden_dim, spec.width, spec.num_classes)
