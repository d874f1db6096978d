"""Contrastive predictive coding: CPC (van den Oord et al. 2018, arXiv 1807.03748), as in CPC_audio.

CPC_audio: Rivière et al. 2020 (arXiv 2002.02848).
From what it has heard up to a frame, the model tells the frontend's features of each of the next 12 frames from those
of other frames of the same clip. A score is the mean over dimensions of the product of prediction and features, as in
CPC_audio. All scores of a step are one matrix product, and one draw of negatives serves all steps. The encoder must not
look ahead, and nothing need be masked.

Left out on purpose: negatives from the batch's other clips, which would make a clip's loss depend on its neighbours
(CPC_audio fills a batch with clips of one speaker for them), and negatives that are the right frame itself.

The predictor of CPC_audio: a causal transformer layer for one step ahead, with relative positions.

Rivière et al. 2020 (arXiv 2002.02848), ``cpc/transformers.py`` of their code: post-norm, projections without a bias,
ReLU, and a learnt vector for each distance back that is multiplied with what a frame asks for, the same in all heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError, check_at_least, check_choice
from audio_ssl.base.versions import added
from audio_ssl.pretrain.view import ModelShape, Objective, ObjectiveOutput, ObjectiveTraits, View, first_is_highest
from audio_ssl.targets.spec import TargetSpec

TRAITS = ObjectiveTraits(None, causal=True)

Predictor = Literal["cpc_audio", "transformer", "linear"]


@dataclass(frozen=True)
class Config:
    """Steps, negatives and predictor; the numbers are CPC_audio's."""

    weight: float = 1.0
    """Factor of this loss in the total."""

    steps: int = 12
    """How many of the next frames are predicted (van den Oord et al., CPC_audio: 12)."""

    negatives: int = 128
    """Negatives of a prediction: frames of the same clip (CPC_audio: 128)."""

    predictor: Predictor = "transformer"
    """``cpc_audio``: a causal transformer layer with relative positions for each step; frames whose steps do not all
    lie in the clip predict nothing. ``linear`` maps for each step (van den Oord et al.), or one causal ``transformer``
    layer before these; frames near the end of a clip predict the steps that still lie in it."""

    heads: int = 8
    """Attention heads of a transformer predictor (CPC_audio: 8)."""

    dropout: float = 0.1
    """Dropout of a transformer predictor (CPC_audio: 0.1)."""

    reach_frames: int = added(116)
    """Distances that the predictor ``cpc_audio`` tells apart (CPC_audio: 116, its window of 128 less 12)."""


class Cpc(Objective):
    """Predictors, InfoNCE."""

    def __init__(self, config: Config, hidden_dim: int, feature_dim: int) -> None:
        super().__init__()
        self._negatives, self._whole = config.negatives, config.predictor == "cpc_audio"
        self.attention = (
            nn.TransformerEncoderLayer(hidden_dim, config.heads, 4 * hidden_dim, config.dropout, batch_first=True)
            if config.predictor == "transformer"
            else None
        )
        self.steps = nn.ModuleList(
            StepPredictor(hidden_dim, config.heads, config.dropout, config.reach_frames)
            if self._whole
            else nn.Linear(hidden_dim, feature_dim, bias=False)
            for _ in range(config.steps)
        )

    def forward(self, view: View) -> ObjectiveOutput:
        """Return the sum over frames of the mean over steps of the cross-entropy, and the accuracy of the first step.

        A frame counts by the share of its steps that lie in the clip, or where all of them do.
        """
        context = self.context(view.hidden[-1])
        negatives = self.draw(view).to(context.device)
        features = view.features.float()
        inside = view.inside
        loss = features.new_zeros(())
        pairs = correct = torch.zeros((), dtype=torch.long, device=context.device)
        for ahead, step in enumerate(self.steps, 1):
            predicted = step(context).float()
            with torch.autocast(context.device.type, enabled=False):
                scores = torch.bmm(predicted, features.mT) / features.shape[-1]
                logits = _logits(scores, negatives, ahead)
                last = len(self.steps) if self._whole else ahead
                known = F.pad(inside[:, last:], (0, min(last, inside.shape[1]) - min(ahead, inside.shape[1])))
                loss = loss + (logits.logsumexp(-1) - logits[..., 0])[known].sum()
            pairs = pairs + known.sum()
            correct = correct + first_is_highest(logits.detach(), known)
        number = len(self.steps)
        return ObjectiveOutput(loss / number, pairs / number, {"accuracy": (correct, pairs)})

    def context(self, hidden: Float[Tensor, "batch frame dim"]) -> Float[Tensor, "batch frame dim"]:
        """Return what predictions are made from: a frame's context knows no later frame."""
        if self.attention is None:
            return hidden
        total = hidden.shape[1]
        later = torch.ones(total, total, dtype=torch.bool, device=hidden.device).triu(1)
        return cast(Tensor, self.attention(hidden, src_mask=later, is_causal=True))

    def draw(self, view: View) -> Int[Tensor, "batch frame negative"]:
        """Draw the negatives of each frame from the frames of its clip, each clip's from its own generator."""
        index = torch.zeros(*view.features.shape[:2], self._negatives, dtype=torch.long)
        for clip, (count, generator) in enumerate(zip(view.frames.tolist(), view.clip_generators(), strict=True)):
            index[clip, :count] = torch.randint(max(1, count), (count, self._negatives), generator=generator)
        return index


def _logits(
    scores: Float[Tensor, "batch frame other"], negatives: Int[Tensor, "batch frame negative"], ahead: int
) -> Float[Tensor, "batch frame candidate"]:
    """Return for each frame with one `ahead` the score of that frame, then those of its negatives."""
    total = scores.shape[1]
    early = max(0, total - ahead)
    positive = scores.diagonal(ahead, dim1=1, dim2=2)[..., None]
    index = negatives[:, :early]
    right = torch.arange(ahead, ahead + early, device=scores.device)[:, None]
    others = scores[:, :early].gather(2, index).masked_fill(index == right, -torch.inf)
    return torch.cat([positive, others], -1)


def build(config: Config, shape: ModelShape, target: TargetSpec | None) -> Cpc:
    """Make the predictor; UserError for sizes that do not fit together."""
    check_at_least(config, 1, "steps", "negatives", "heads", "reach_frames")
    check_choice("predictor", config.predictor, get_args(Predictor))
    if config.predictor != "linear" and shape.dim % config.heads:
        raise UserError(f"`heads` must divide the encoder's width {shape.dim}, but is {config.heads}")
    if config.predictor == "cpc_audio" and shape.dim != shape.feature_dim:
        raise UserError(
            f"`predictor: cpc_audio` needs an encoder as wide as the frontend's {shape.feature_dim}, but it is "
            f"{shape.dim}",
            remedy="give both the same width, or predictor: transformer",
        )
    return Cpc(config, shape.dim, shape.feature_dim)


class StepPredictor(nn.Module):
    """One transformer layer.

    Parameters
    ----------
    dim
        Width of contexts and predictions; the feed-forward part is 8 times as wide (CPC_audio: 256 and 2048).
    heads
        Attention heads.
    dropout
        On the attention weights and inside the feed-forward part.
    reach_frames
        Distances from here on share one vector (CPC_audio knows no longer ones: 116, its window without the last 12).
    """

    def __init__(self, dim: int, heads: int, dropout: float, reach_frames: int) -> None:
        super().__init__()
        self._heads, self._dropout = heads, dropout
        self.query, self.key = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.value, self.out = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        bound = (dim // heads) ** -0.5
        self.distances = nn.Parameter(torch.empty(reach_frames, dim // heads).uniform_(-bound, bound))
        self.attention_norm, self.final_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.inner, self.outer = nn.Linear(dim, 8 * dim), nn.Linear(8 * dim, dim)

    def forward(self, x: Float[Tensor, "batch frame dim"]) -> Float[Tensor, "batch frame dim"]:
        """Return what each frame predicts from itself and those before it."""
        x = self.attention_norm(x + self._attend(x))
        fed = F.dropout(F.relu(self.inner(x)), self._dropout, self.training)
        return cast(Tensor, self.final_norm(x + self.outer(fed)))

    def _attend(self, x: Tensor) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (self._heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        place = torch.arange(x.shape[1], device=x.device)
        back = (place[:, None] - place).clamp(0, len(self.distances) - 1)
        asked = query @ self.distances.to(query.dtype).T
        scores = query @ key.mT + asked.gather(-1, back.expand(*query.shape[:2], -1, -1))
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        weights = (scores.float() / math.sqrt(query.shape[-1])).masked_fill(later, -torch.inf).softmax(-1)
        mixed = F.dropout(weights.to(value.dtype), self._dropout, self.training) @ value
        return cast(Tensor, self.out(mixed.transpose(1, 2).flatten(2)))
