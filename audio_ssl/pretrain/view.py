"""What an objective sees of a micro-batch and what it gives back.

An objective file has ``Config`` (with a `weight`, and `teacher` if its ``TRAITS`` need one), ``TRAITS =
ObjectiveTraits(...)``, and ``build(config, shape, target)``, which returns an `Objective`.

Losses are sums with counts, and chance that concerns a clip comes from the clip's own key, so that gradients do not
depend on how an update is split into micro-batches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from audio_ssl.base.errors import UserError
from audio_ssl.data.frames import frame_mask
from audio_ssl.models.interfaces import Encoder, Frontend
from audio_ssl.models.points import Point
from audio_ssl.targets.spec import TargetSpec

Metrics = dict[str, tuple[Tensor, Tensor]]
"""Sums and counts by name: a metric is ``sum / count`` over all batches of an update."""

Needs = Literal["codes", "values"] | None


@dataclass(frozen=True)
class ObjectiveTraits:
    """What the file of an objective says of it."""

    needs: Needs
    """What its teacher must give; None: it has no teacher."""

    causal: bool = False
    """The encoder must not look ahead."""

    masked: bool = False
    """The loss means nothing unless frames are hidden."""

    clones: bool = False
    """A clip needs two masks or more."""


@dataclass(frozen=True)
class ModelShape:
    """What an objective's head is built for."""

    dim: int
    """Width of the hidden states."""

    feature_dim: int
    """Width of the frontend's features."""

    layers: int
    """Layers of the encoder; there is one hidden state more."""

    feature_norm: bool = True
    """Whether the encoder has a norm of the features."""

    decoded: bool = False
    """Masked frames are left out of the encoder, and a decoder fills in the last hidden states."""

    @classmethod
    def of(cls, frontend: Frontend, encoder: Encoder, decoded: bool) -> ModelShape:
        """Return the shape of a model's parts."""
        normed = isinstance(encoder.feature_norm, nn.LayerNorm)
        return cls(encoder.dim, frontend.dim, encoder.num_layers, normed, decoded)


_SALT = 0x5DEECE66D
"""Keeps what objectives draw apart from the masks, which are drawn from the same keys."""


class VisibleStates(NamedTuple):
    """What an encoder made of the frames that were not hidden from it; a row is a clip under one of its masks."""

    state: Float[Tensor, "row kept dim"]
    """Its last."""

    places: Int[Tensor, "row kept"]
    """Which frame of the clip each is."""

    counts: Bool[Tensor, "row kept"]
    """True where it is a frame that the encoder saw."""

    def mean(self, where: Bool[Tensor, "row kept"] | None = None) -> Float[Tensor, "row dim"]:
        """Return the mean over the frames that count, of these only those in `where`; zero where there are none."""
        kept = (self.counts if where is None else self.counts & where)[..., None]
        return torch.where(kept, self.state.float(), 0.0).sum(1) / kept.sum(1).clamp(min=1)


@dataclass(frozen=True)
class View:
    """What an objective sees of one micro-batch."""

    hidden: list[Float[Tensor, "batch frame dim"]]
    """Encoder states of the masked and mixed input; ``[0]`` the encoder's input, ``[-1]`` the last layer. Behind a
    decoder there are only those that it gives, the last `depth` ones."""

    features: Float[Tensor, "batch frame feature"]
    """The frontend's output before projection and masking."""

    frames: Int[Tensor, " batch"]
    """Frames of each clip that count."""

    mask: Bool[Tensor, "batch frame"] | None
    """True where a frame was hidden from the encoder; None where the recipe hides nothing."""

    targets: Shaped[Tensor, "batch frame width"] | None
    """Of the objective's teacher; None for objectives without one."""

    generator: torch.Generator
    """On the CPU; the source of what is not drawn clip by clip."""

    step: int
    """Number of the update, from 0, for schedules."""

    keys: tuple[int, ...] = ()
    """One random number per clip, from the plan of the epoch; empty: drawn from `generator`."""

    feature_norm: Callable[[Tensor], Tensor] | None = None
    """The encoder's norm of the features, for objectives that share it; None: the encoder has none."""

    clones: int = 1
    """Rows that follow each other and are one clip under several masks."""

    seen: VisibleStates | None = None
    """The encoder's last state of the frames that it saw; after a decoder `hidden` no longer has it."""

    @property
    def inside(self) -> Bool[Tensor, "batch frame"]:
        """True where a frame belongs to its clip."""
        return frame_mask(self.frames, self.features.shape[1])

    @property
    def counted(self) -> Bool[Tensor, "batch frame"]:
        """The masked frames, or all frames of the clips where the recipe hides nothing."""
        return self.inside if self.mask is None else self.mask

    def clip_generators(self) -> list[torch.Generator]:
        """Return one generator per clip: what is drawn from it does not depend on the clip's neighbours."""
        return [torch.Generator().manual_seed(seed) for seed in self._clip_seeds()]

    def device_generators(self) -> list[torch.Generator]:
        """Return the same on the device of the features, for many numbers: a GPU draws other ones than a CPU."""
        device = self.features.device
        return [torch.Generator(device).manual_seed(seed) for seed in self._clip_seeds()]

    def _clip_seeds(self) -> list[int]:
        if not self.keys:
            return torch.randint(2**62, (len(self.frames),), generator=self.generator).tolist()
        return [key ^ _SALT for key in self.keys]


@dataclass(frozen=True)
class ObjectiveOutput:
    """A loss as a sum, so that batches of any size add up."""

    loss_sum: Tensor
    """Sum over what `count` counts."""

    count: Tensor
    """Frames that the loss is about: masked ones, or those with a target ahead."""

    metrics: Metrics
    """For the log; detached."""


class Objective(nn.Module, ABC):
    """Hidden states, targets and mask to a loss.

    Parameters
    ----------
    point
        Where in a layer its hidden states are taken.
    depth
        How many of the last hidden states it looks at; a decoder gives as many.
    """

    def __init__(self, point: Point = "output", depth: int = 1) -> None:
        super().__init__()
        self.point, self.depth = point, depth

    @abstractmethod
    def forward(self, view: View) -> ObjectiveOutput:
        """Return the loss of a micro-batch as a sum, the number that it is to be divided by, and metrics."""


def require_targets(
    name: str, needs: Literal["codes", "values"], teacher: int, target: TargetSpec | None
) -> TargetSpec:
    """Return what an objective's teacher gives.

    Raises
    ------
    UserError
        If it is something else than the objective needs, or there is no teacher.
    """
    if target is None or target.kind != needs:
        given = f"teacher {teacher} gives {target.kind}" if target is not None else "there is none"
        raise UserError(f"{name} needs a teacher of {needs}, but {given}")
    return target


def first_is_highest(logits: Float[Tensor, "*row candidate"], counted: Bool[Tensor, "*row"]) -> Int[Tensor, ""]:
    """Count the rows whose first number beats all others; a tie, as of collapsed features, is no success."""
    return ((logits[..., 1:] < logits[..., :1]).all(-1) & counted).sum()
