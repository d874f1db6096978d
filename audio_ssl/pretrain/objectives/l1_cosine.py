"""Layers of a teacher, each predicted by a head of its own: DistilHuBERT (Chang et al. 2022, arXiv 2110.01900).

Per frame and layer the mean absolute error over the channels minus ``cosine * log sigmoid(cosine similarity)``, and of
that the mean over the layers, as in the published code (s3prl, `pretrain/distiller`; the paper's formula has the sum).
A head is two linear layers with a GELU between them, the first as wide as the student. The heads are thrown away with
the rest of the learner. DistilHuBERT hides no frames (``mask: null``) and predicts layers 4, 8 and 12 of HuBERT base
from the last of two layers, all of them from one hidden state; here a layer of the teacher can also be predicted from a
layer of the student that is chosen for it.

Where frames are hidden, the hidden ones count.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError, check_choice
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

TRAITS = ObjectiveTraits("values")


@dataclass(frozen=True)
class Config:
    """Teacher, heads and weights of the loss."""

    teacher: int = 0
    """Index of the teacher in the recipe; `hidden` with ``combine: concat`` keeps its layers apart."""

    weight: float = 1.0
    """Factor of this loss in the total."""

    cosine: float = 1.0
    """Factor of the cosine term beside the absolute error (DistilHuBERT: 1)."""

    head: str = "mlp"
    """From a hidden state to a layer of the teacher: ``mlp``, two linear layers (DistilHuBERT), or ``linear``, one."""

    layers: tuple[int, ...] = ()
    """Hidden state of the student that predicts each of the teacher's layers, in their order; empty: the last one
    predicts all of them (DistilHuBERT)."""


class L1Cosine(Objective):
    """One head for each layer of the teacher.

    Parameters
    ----------
    config
        Kind of head, and weight of the cosine.
    hidden_dim
        Width of the student.
    blocks, dim
        Layers of the teacher, and their width.
    """

    def __init__(self, config: Config, hidden_dim: int, blocks: int, dim: int) -> None:
        super().__init__()
        self._cosine, self._layers = config.cosine, config.layers or (-1,) * blocks
        self.heads = nn.ModuleList(_head(config.head, hidden_dim, dim) for _ in range(blocks))

    def forward(self, view: View) -> ObjectiveOutput:
        """Return the sum over frames of both terms, the mean over the teacher's layers, and each layer's own terms."""
        assert view.targets is not None
        counted = view.counted
        count = counted.sum()
        wanted = view.targets[counted].float().chunk(len(self.heads), -1)
        loss = wanted[0].new_zeros(())
        metrics: Metrics = {}
        for number, (head, layer, target) in enumerate(zip(self.heads, self._layers, wanted, strict=True)):
            absolute, cosine = compared(head(view.hidden[layer][counted]).float(), target)
            loss = loss + absolute.sum() - self._cosine * F.logsigmoid(cosine).sum()
            metrics[f"l1_{number}"] = (absolute.detach().sum(), count)
            metrics[f"cosine_{number}"] = (cosine.detach().sum(), count)
        return ObjectiveOutput(loss / len(self.heads), count, metrics)


def compared(
    predicted: Float[Tensor, "frame dim"], wanted: Float[Tensor, "frame dim"]
) -> tuple[Float[Tensor, " frame"], Float[Tensor, " frame"]]:
    """Return mean absolute error and cosine similarity of each frame."""
    # float32 also under autocast.
    with torch.autocast(predicted.device.type, enabled=False):
        return (predicted - wanted).abs().mean(-1), F.cosine_similarity(predicted, wanted, dim=-1)


def _head(kind: str, hidden_dim: int, dim: int) -> nn.Module:
    if kind == "linear":
        return nn.Linear(hidden_dim, dim)
    return nn.Sequential(nn.Linear(hidden_dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, dim))


def build(config: Config, shape: ModelShape, target: TargetSpec | None) -> L1Cosine:
    """Make the heads for a teacher of values; UserError for another teacher, or layers that are not there."""
    spec = require_targets("l1_cosine", "values", config.teacher, target)
    check_choice("head", config.head, ("mlp", "linear"))
    if config.cosine < 0:
        raise UserError(f"`cosine` must not be negative, but is {config.cosine}", where=".cosine")
    if config.layers and len(config.layers) != spec.blocks:
        raise UserError(
            f"`layers` must name a hidden state for each of the {spec.blocks} layers of teacher {config.teacher}, but "
            f"has {len(config.layers)}",
            where=".layers",
            remedy="leave it out: the last hidden state then predicts all; a teacher keeps several layers apart with "
            "`combine: concat`",
        )
    if not all(0 <= layer <= shape.layers for layer in config.layers):
        raise UserError(
            f"`layers` must be hidden states of the student, 0 to {shape.layers}, but is {list(config.layers)}",
            where=".layers",
        )
    if config.layers and shape.decoded:
        raise UserError(
            "`layers` needs hidden states of masked frames, but with a `decoder` the encoder never sees these",
            where=".layers",
            remedy="leave `layers` or the `decoder` out",
        )
    return L1Cosine(config, shape.dim, spec.blocks, spec.width // spec.blocks)
