"""Masked prediction of discrete codes (HuBERT, Hsu et al. 2021, section II-C; MERT with 8 EnCodec codebooks).

Also in Fast-HuBERT's cheaper forms (Yang et al. 2023, arXiv 2309.13860): linear logits, loss on intermediate layers;
and in SpidR's (Poli et al. 2025, arXiv 2512.20308): each codebook from a layer of its own.

Cosine similarity of the projected frame and each code's embedding, over a temperature, and cross-entropy. Only masked
frames are projected, and similarities are one matrix product of normalised rows: for 2,400 frames and 504 classes 5 MB
where the published code's ``cosine_similarity`` over expanded tensors takes 1.2 GB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError, check_choice
from audio_ssl.base.versions import added
from audio_ssl.pretrain.view import (
    Metrics,
    ModelShape,
    Objective,
    ObjectiveOutput,
    ObjectiveTraits,
    View,
    require_targets,
)
from audio_ssl.targets.spec import TargetSpec

TRAITS = ObjectiveTraits("codes")


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

    projection_init: str = added("torch", earlier="normal")
    """First weights of the projections of the hidden states: ``torch``, as its Linear starts (HuBERT, MERT), or
    ``normal``, of deviation 0.02 as in the encoder."""

    unmasked_weight: float = 0.0
    """Weight of the loss on visible frames (HuBERT's ``pred_nomask_weight``: 0)."""

    codebook_loss: str = added("sum")
    """Losses of the codebooks are added up (``sum``: MERT) or averaged (``mean``: MuQ)."""

    random_codebooks: int | None = None
    """Train on this many codebooks an update, drawn anew each time (MERT: 1 of 8 costs little quality); null: all."""

    layers: tuple[int, ...] = ()
    """Hidden layers that get the loss besides the last, averaged with it (ILS-SSL, arXiv 2112.08778)."""

    layer_by_layer: bool = added(False)
    """Predict each of K codebooks from one of the last K layers, in order, by a projection of its own, where the
    teacher's codes are of those layers (SpidR); false: all codebooks from the last layer (HuBERT, MERT, DinoSR)."""

    point: Literal["output", "feed_forward"] = added("output")
    """Where in a layer the states are taken that predict: at its ``output`` (HuBERT, MERT, DinoSR), or at its
    ``feed_forward`` part's, before the last residual sum (SpidR). All objectives of a recipe have the same."""


class MaskedCodes(Objective):
    """One untied head per codebook; the loss is the sum or mean over codebooks and the mean over layers.

    The code embeddings are shared by all layers, the projections are each layer's own.
    """

    def __init__(self, config: Config, hidden_dim: int, codebooks: int, classes: int) -> None:
        super().__init__(config.point, depth=codebooks if config.layer_by_layer else 1)
        self._config, self.codebooks, self.classes = config, codebooks, classes
        self._cosine = config.head == "cosine"
        own = config.final_dim if self._cosine else classes
        width = codebooks * own
        normal = config.projection_init == "normal"
        if config.layer_by_layer:
            self.projections = nn.ModuleList(_projection(hidden_dim, own, normal) for _ in range(codebooks))
        else:
            self.projection = _projection(hidden_dim, width, normal)
        self.layer_projections = nn.ModuleDict(
            {str(layer): _projection(hidden_dim, width, normal) for layer in config.layers}
        )
        if self._cosine:
            codes = torch.empty(codebooks, classes, config.final_dim)
            self.codes = nn.Parameter(codes.uniform_() if config.code_init == "uniform" else codes.normal_())

    def forward(self, view: View) -> ObjectiveOutput:
        """Return the loss over masked frames, accuracy and perplexity of each codebook."""
        assert view.targets is not None
        counted = view.counted
        chosen = self.chosen_codebooks(view.step)
        loss, metrics = self._loss(view, counted, chosen)
        if self._config.unmasked_weight:
            seen, more = self._loss(view, view.inside & ~counted, chosen)
            loss = loss + self._config.unmasked_weight * seen
            metrics |= {f"unmasked_{name}": value for name, value in more.items() if name.startswith("accuracy")}
        # The subset stands for all codebooks: its loss is scaled up, so that its expectation is the whole loss.
        factor = self.codebooks if self._config.codebook_loss == "sum" else 1
        return ObjectiveOutput(loss * (factor / len(chosen)), counted.sum(), metrics)

    def chosen_codebooks(self, step: int) -> list[int]:
        """Return the codebooks trained at an update: in training the same for all its micro-batches, otherwise all."""
        number = self._config.random_codebooks
        if number is None or not self.training:
            return list(range(self.codebooks))
        generator = torch.Generator().manual_seed(step)
        return sorted(torch.randperm(self.codebooks, generator=generator)[:number].tolist())

    def _loss(self, view: View, rows: Tensor, chosen: list[int]) -> tuple[Tensor, Metrics]:
        """Return loss and metrics of the frames where `rows` is True."""
        assert view.targets is not None
        wanted = view.targets[rows]
        layers = self._projected(view.hidden, rows, chosen)
        loss = wanted.new_zeros((), dtype=torch.float32)
        metrics: Metrics = {}
        for layer, projected in layers.items():
            for codebook in chosen:
                logits = self._logits(projected[codebook], codebook)
                loss = loss + F.cross_entropy(logits, wanted[:, codebook], reduction="sum")
                found = _codebook_metrics(logits.detach(), wanted[:, codebook], codebook)
                if layer >= 0:
                    found = {f"layer_{layer}_{k}": v for k, v in found.items() if k.startswith("accuracy")}
                metrics |= found
        return loss / len(layers), metrics

    def _projected(
        self, hidden: Sequence[Tensor], rows: Tensor, chosen: Sequence[int]
    ) -> dict[int, Mapping[int, Tensor]]:
        """Return by layer and codebook what the frames are projected to; -1 stands for the last layers."""
        if self._config.layer_by_layer:
            states = {book: hidden[book - self.codebooks][rows] for book in chosen}
            return {-1: {book: self.projections[book](state) for book, state in states.items()}}
        layers = {-1: self.projection, **{int(name): module for name, module in self.layer_projections.items()}}
        wide = {layer: projection(hidden[layer][rows]) for layer, projection in layers.items()}
        return {layer: dict(enumerate(x.unflatten(-1, (self.codebooks, -1)).unbind(1))) for layer, x in wide.items()}

    def _logits(self, projected: Tensor, codebook: int) -> Tensor:
        if not self._cosine:
            return projected.float()
        # float32 also under autocast: a bf16 cosine over 0.1 is off by up to 0.04.
        with torch.autocast(projected.device.type, enabled=False):
            rows = F.normalize(projected.float(), dim=-1)
            return rows @ F.normalize(self.codes[codebook].float(), dim=-1).T / self._config.temperature


def _projection(hidden_dim: int, width: int, normal: bool) -> nn.Linear:
    projection = nn.Linear(hidden_dim, width)
    if normal:
        nn.init.normal_(projection.weight, std=0.02)
        nn.init.zeros_(projection.bias)
    return projection


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


def build(config: Config, shape: ModelShape, target: TargetSpec | None) -> MaskedCodes:
    """Make the head for a teacher of codes; UserError for another teacher, or settings that do not fit it."""
    spec = require_targets("masked_codes", "codes", config.teacher, target)
    check_choice("head", config.head, ("cosine", "linear"))
    check_choice("projection_init", config.projection_init, ("normal", "torch"))
    check_choice("code_init", config.code_init, ("uniform", "normal"))
    check_choice("codebook_loss", config.codebook_loss, ("sum", "mean"))
    if config.random_codebooks is not None and not 1 <= config.random_codebooks <= spec.width:
        raise UserError(
            f"`random_codebooks` must lie between 1 and the teacher's {spec.width} codebooks, or be null, but is "
            f"{config.random_codebooks}"
        )
    if config.unmasked_weight < 0:
        raise UserError(f"`unmasked_weight` must not be negative, but is {config.unmasked_weight}")
    if len(set(config.layers)) < len(config.layers) or min(config.layers, default=0) < 0:
        raise UserError(f"`layers` must be numbers of different hidden layers from 0 on, but is {config.layers}")
    if max(config.layers, default=0) > shape.layers:
        raise UserError(
            f"`layers` names hidden layer {max(config.layers)}, but the encoder has {shape.layers}", where=".layers"
        )
    if config.layers and shape.decoded:
        raise UserError(
            "`layers` needs hidden states of masked frames, but with a `decoder` the encoder never sees these",
            where=".layers",
            remedy="leave `layers` or the `decoder` out",
        )
    if config.layers and config.layer_by_layer:
        raise UserError("with `layer_by_layer` every layer has its own codebook", remedy="leave `layers` out")
    if config.layer_by_layer and spec.width > shape.layers:
        raise UserError(
            f"`layer_by_layer` needs a layer for each of the teacher's {spec.width} codebooks, but the encoder has "
            f"{shape.layers}",
            where=".layer_by_layer",
        )
    check_choice("point", config.point, ("output", "feed_forward"))
    assert spec.num_classes is not None
    return MaskedCodes(config, shape.dim, spec.width, spec.num_classes)
