"""Contrastive prediction of quantised features: wav2vec 2.0 (Baevski et al. 2020, arXiv 2006.11477, section 3.2).

From a masked frame's context, the model has to find the quantised features of that frame among those of other masked
frames of the same clip, by cosine similarity; the diversity loss asks the quantiser to use all its codes. All
similarities of a clip are one matrix product, from which those of the negatives are taken: frames x frames numbers
where the published code holds frames x negatives x dim.

The quantiser sees the features through the encoder's own norm, as in the published code: one module, whose gradient is
the sum of both.

A negative whose codes are those of the positive is left out. Published code compares float vectors for that, which the
straight-through estimator's rounding lets differ; here the codes themselves are compared. The diversity loss is that of
a micro-batch, as it is that of a GPU in the published runs: it alone depends on how an update is split.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError, check_at_least
from audio_ssl.base.versions import added
from audio_ssl.pretrain.objectives._gumbel import GumbelQuantized, GumbelQuantizer, perplexity
from audio_ssl.pretrain.view import (
    Metrics,
    ModelShape,
    Objective,
    ObjectiveOutput,
    ObjectiveTraits,
    View,
    first_is_highest,
)
from audio_ssl.targets.spec import TargetSpec

TRAITS = ObjectiveTraits(None, masked=True)


@dataclass(frozen=True)
class Config:
    """Quantiser, negatives and weights; the defaults are wav2vec 2.0 base's."""

    weight: float = 1.0
    """Factor of this loss in the total."""

    negatives: int = 100
    """Negatives of a frame: masked frames of the same clip (wav2vec 2.0: 100)."""

    temperature: float = 0.1
    """Divides the cosine (wav2vec 2.0: 0.1)."""

    final_dim: int = 256
    """Width in which context and quantised features are compared (base: 256, large: 768)."""

    codebooks: int = 2
    """Codebooks of the quantiser (wav2vec 2.0: G = 2)."""

    codebook_size: int = 320
    """Codes of each codebook (wav2vec 2.0: V = 320)."""

    code_dim: int = 256
    """Width of quantised features (base: 256, large: 768)."""

    gumbel_start: float = 2.0
    """Temperature of the Gumbel softmax at the start (wav2vec 2.0: 2)."""

    gumbel_end: float = 0.5
    """Lowest temperature of the Gumbel softmax (base: 0.5, large: 0.1)."""

    gumbel_decay: float = 0.999995
    """Factor on that temperature with each update (wav2vec 2.0)."""

    diversity_weight: float = 0.1
    """Weight of the diversity loss (wav2vec 2.0: 0.1)."""

    feature_dropout: float = 0.1
    """Dropout on the features before the quantiser (wav2vec 2.0: 0.1)."""

    shared_norm: bool = added(True, earlier=False)
    """The quantiser takes the features from the encoder's norm of them (wav2vec 2.0); false: from a norm of its own."""


@dataclass(frozen=True)
class Draws:
    """What chance decides, one row for each masked frame, clip after clip."""

    noise: Float[Tensor, "row codebook code"] | None
    """Exponential, for the quantiser; None outside training."""

    negatives: list[Int[Tensor, "row negative"]]
    """For each clip, numbers of other masked frames of that clip; no rows where there is only one."""


class Contrastive(Objective):
    """Quantiser, two projections, InfoNCE and diversity."""

    def __init__(self, config: Config, hidden_dim: int, feature_dim: int) -> None:
        super().__init__()
        self._config = config
        self.feature_norm = None if config.shared_norm else nn.LayerNorm(feature_dim)
        self.dropout = nn.Dropout(config.feature_dropout)
        self.quantizer = GumbelQuantizer(feature_dim, config.codebooks, config.codebook_size, config.code_dim)
        self.project_context = nn.Linear(hidden_dim, config.final_dim)
        self.project_codes = nn.Linear(config.code_dim, config.final_dim)

    def forward(self, view: View) -> ObjectiveOutput:
        """Return the loss over masked frames, its parts, accuracy, and perplexity of the codes."""
        return self.loss(view, self.draw(view))

    def gumbel_temperature(self, step: int) -> float:
        """Return the temperature of the Gumbel softmax at an update."""
        config = self._config
        return float(max(config.gumbel_end, config.gumbel_start * config.gumbel_decay**step))

    def draw(self, view: View) -> Draws:
        """Draw noise and negatives, each clip's from its own generator."""
        sizes = (self._config.codebooks, self._config.codebook_size)
        noise, negatives, device = [], [], view.features.device
        generators = view.clip_generators()
        # On a GPU the noise, which is long, is drawn where it is used.
        drawing = generators if device.type == "cpu" else view.device_generators()
        counts = view.counted.sum(1).tolist()
        for count, generator, draws in zip(counts, generators, drawing, strict=True):
            if self.training:
                noise.append(torch.empty(count, *sizes, device=device).exponential_(generator=draws))
            rows = count if count > 1 else 0
            others = torch.randint(max(1, rows - 1), (rows, self._config.negatives), generator=generator)
            negatives.append(others + (others >= torch.arange(rows)[:, None]).long())
        return Draws(torch.cat(noise) if noise else None, negatives)

    def loss(self, view: View, draws: Draws) -> ObjectiveOutput:
        """Return the loss for given draws."""
        counted = view.counted
        count = counted.sum()
        context = self.project_context(view.hidden[-1][counted])
        norm = self.feature_norm or view.feature_norm
        assert norm is not None, "refused by build"
        features = self.dropout(norm(view.features[counted]))
        quantized = self.quantizer(features, self.gumbel_temperature(view.step), draws.noise)
        targets = self.project_codes(quantized.vectors)
        rows = _rows_of_clips(counted)
        with torch.autocast(context.device.type, enabled=False):
            logits = self._logits(context.float(), targets.float(), quantized.codes, rows, draws.negatives)
            here = rows < len(context)
            contrastive = (logits.logsumexp(-1) - logits[..., 0])[here].sum()
            total = self._config.codebooks * self._config.codebook_size
            diversity = (total - perplexity(quantized.use).sum()) / total * count
        metrics: Metrics = {
            "contrastive_loss": (contrastive.detach(), count),
            "diversity_loss": (diversity.detach(), count),
            "accuracy": (first_is_highest(logits.detach(), here), count),
            "gumbel_temperature": (self.gumbel_temperature(view.step) * count, count),
        }
        metrics |= _code_metrics(quantized, count)
        return ObjectiveOutput(contrastive + self._config.diversity_weight * diversity, count, metrics)

    def _logits(
        self, context: Tensor, targets: Tensor, codes: Tensor, rows: Tensor, negatives: list[Tensor]
    ) -> Float[Tensor, "batch frame candidate"]:
        """Return similarities over the temperature: first that of the positive, then those of the negatives."""
        batch, most = rows.shape
        index = torch.zeros(batch, most, self._config.negatives, dtype=torch.long)
        for clip, numbers in enumerate(negatives):
            index[clip, : len(numbers)] = numbers
        index = index.to(rows.device)
        similarity = (
            torch.bmm(_pad(F.normalize(context, dim=-1), rows), _pad(F.normalize(targets, dim=-1), rows).mT)
            / self._config.temperature
        )
        positive = similarity.diagonal(dim1=1, dim2=2)[..., None]
        # One number for the codes of all codebooks; a lone masked frame is its own negative, so it has none.
        base = self._config.codebook_size ** torch.arange(self._config.codebooks, device=codes.device)
        names = _pad((codes * base).sum(-1), rows)
        same = names[:, None].expand(-1, most, -1).gather(2, index) == names[..., None]
        return torch.cat([positive, similarity.gather(2, index).masked_fill(same, -torch.inf)], -1)


def _rows_of_clips(counted: Tensor) -> Int[Tensor, "batch frame"]:
    """Return for each clip the numbers of its rows among all masked frames; the number of rows where there is none."""
    counts = counted.sum(1)
    most = max(1, int(counts.max()))
    place = torch.arange(most, device=counted.device)
    first = counts.cumsum(0) - counts
    return torch.where(place < counts[:, None], first[:, None] + place, counts.sum())


def _pad(values: Tensor, rows: Tensor) -> Tensor:
    return torch.cat([values, values.new_zeros(1, *values.shape[1:])])[rows]


def _code_metrics(quantized: GumbelQuantized, count: Tensor) -> Metrics:
    metrics: Metrics = {}
    size = quantized.use.shape[-1]
    chosen = F.one_hot(quantized.codes, size).float().sum(0) / count.clamp(min=1)
    for name, use in (("code_perplexity", chosen), ("probability_perplexity", quantized.use.detach())):
        for codebook, value in enumerate(perplexity(use)):
            metrics[f"{name}_{codebook}"] = (value * count, count)
    return metrics


def build(config: Config, shape: ModelShape, target: TargetSpec | None) -> Contrastive:
    """Make quantiser and heads; UserError for sizes that do not fit together."""
    check_at_least(config, 1, "negatives", "codebooks", "codebook_size", "code_dim", "final_dim")
    if config.code_dim % config.codebooks:
        raise UserError(f"`code_dim` {config.code_dim} must be a multiple of `codebooks` {config.codebooks}")
    if config.shared_norm and not shape.feature_norm:
        raise UserError(
            "`shared_norm` takes the encoder's norm of the features, but this encoder has none",
            where=".shared_norm",
            remedy="give `shared_norm: false`, so that the objective has a norm of its own",
        )
    return Contrastive(config, shape.dim, shape.feature_dim)
