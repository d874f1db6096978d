"""The model's own running average as teacher: data2vec (Baevski et al. 2022, arXiv 2202.03555, sections 3.2 and 3.3).

The teacher hears the clean, unmasked waveform. Its targets are the mean of its last layers' states, each normalised
over the clip's frames; as in the published code a state is what the layer's feed-forward part gives, before the last
residual sum (`point`). It follows the model after every update, so its targets cannot be stored, and it lives in the
learner: its weights are in checkpoints and never in the optimiser.

`average` names the averaged part of the model; the other parameters are copied from it. data2vec averages what comes
after the convolutional positions, data2vec 2.0 (Baevski et al. 2022, arXiv 2212.07525) the positions as well.
`schedule` says how fast the average follows, and after `freeze_after` updates it stops (DinoSR, Liu et al. 2023, arXiv
2305.10005).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Literal, Self, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from audio_ssl.base.errors import UserError, check_choice
from audio_ssl.base.versions import added
from audio_ssl.models.interfaces import check_point
from audio_ssl.models.model import SSLModel
from audio_ssl.models.normalisation import standardise
from audio_ssl.models.points import Point
from audio_ssl.targets.spec import FollowingTeacher, TargetSpec, TeacherTraits

Average = Literal["layers", "transformer", "encoder"]
Schedule = Literal["linear", "exponential"]
_INPUT = ("feature_norm", "projection", "mask_embedding")
"""Parts of an encoder that come before its positions."""


@dataclass(frozen=True)
class Config:
    """Layers and decay; the defaults are data2vec audio base's."""

    layers: int = 8
    """The last layers whose states are averaged (data2vec: 8)."""

    point: Point = added("feed_forward", earlier="output")
    """Where in a layer its state is taken: its ``feed_forward`` part, before the last residual sum (data2vec), or the
    layer's ``output`` (fairseq's `end_of_block_targets`)."""

    decay_start: float = 0.999
    """Share of the old weights that stays with each update, at the start (data2vec: 0.999)."""

    decay_end: float = 0.9999
    """The same from `decay_steps` on (data2vec: 0.9999)."""

    decay_steps: int = 30_000
    """Updates over which the decay rises linearly (data2vec: 30,000); with ``exponential``, over which its distance to
    `decay_end` becomes an e-th (SpidR: 20,000)."""

    schedule: Schedule = added("linear")
    """How the decay rises: ``linear`` (data2vec, DinoSR), or ``exponential`` towards `decay_end` (SpidR)."""

    freeze_after: int | None = added(None)
    """Updates of the model after which the average stands still (DinoSR: 200,000); null: it follows to the end."""

    average: Average = added("layers", earlier="encoder")
    """What of the encoder is averaged, while the rest is copied from the model: its ``layers`` and all else after the
    positions (data2vec: `ema_layers_only`), the ``transformer``, with the positions (data2vec 2.0), or the whole
    ``encoder``, with the projection."""

    share_frontend: bool = True
    """Take the frontend as the model has it, instead of its average (data2vec: yes)."""


class EmaTeacher(FollowingTeacher):
    """Follows a model and gives targets.

    Parameters
    ----------
    config
        Layers and decay.
    model
        The model that is trained; it is copied.
    """

    def __init__(self, config: Config, model: SSLModel) -> None:
        super().__init__()
        self._config = config
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.spec = TargetSpec("values", model.dim, None, model.grid)
        self.model.eval()

    def train(self, mode: bool = True) -> Self:
        """Keep the average without dropout, whatever the learner does."""
        super().train(mode)
        self.model.eval()
        return self

    @torch.no_grad()
    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        features: tuple[Tensor, Tensor] | None = None,
        counted: Int[Tensor, "batch frame"] | None = None,
    ) -> Tensor:
        """Return the targets of a batch, float32: the mean of the states."""
        last = self.states(waveform, lengths, features)
        total = torch.zeros_like(last[0])
        for state in last:
            total += state
        return total / len(last)

    @torch.no_grad()
    def states(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        features: tuple[Tensor, Tensor] | None = None,
    ) -> list[Float[Tensor, "batch frame dim"]]:
        """Return the states of the last layers, each normalised over its clip's frames, float32.

        `features` are not computed again where they are known and the frontend is shared; see `FollowingTeacher`.
        """
        if features is not None and self._config.share_frontend:
            frames = features[1]
            hidden = self.model.encoder(features[0].detach(), frames, point=self._config.point)
        else:
            hidden, frames, _ = self.model(waveform, lengths, point=self._config.point)
        return [standardise(state.float(), frames) for state in hidden[-self._config.layers :]]

    @property
    def freeze_after(self) -> int | None:
        """Updates after which the average stands still; None: it follows to the end."""
        return self._config.freeze_after

    def decay(self, updates: int) -> float:
        """Return the share of the old weights that stays after so many updates of the model."""
        config = self._config
        if config.schedule == "exponential":
            left = math.exp(-updates / max(1, config.decay_steps))
            return config.decay_end - (config.decay_end - config.decay_start) * left
        share = min(1.0, updates / max(1, config.decay_steps))
        return config.decay_start + (config.decay_end - config.decay_start) * share

    def averages(self, name: str) -> bool:
        """Return whether a parameter is averaged; the others are copied from the model."""
        section, part = name.split(".")[:2]
        if section == "frontend":
            return not self._config.share_frontend
        if part in _INPUT:
            return self._config.average == "encoder"
        return part != "positions" or self._config.average != "layers"

    def _is_input(self, name: str) -> bool:
        """Return whether a parameter makes the input of the teacher and is copied from the model, even when frozen."""
        section, part = name.split(".")[:2]
        return (section == "frontend" or part in _INPUT) and not self.averages(name)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model after update `step` (from 0); what is not averaged becomes the model's own.

        Frozen, the teacher keeps its positions, too, but still hears what the model's frontend and projection give.
        """
        decay = self.decay(step + 1)
        frozen = self.freeze_after is not None and step >= self.freeze_after
        theirs = dict(model.named_parameters())
        for name, mine in self.model.named_parameters():
            if frozen and not self._is_input(name):
                continue
            keep = decay if self.averages(name) else 0.0
            mine.mul_(keep).add_(theirs[name].detach(), alpha=1 - keep)
        buffers = dict(model.named_buffers())
        for name, value in self.model.named_buffers():
            if not frozen or self._is_input(name):
                value.copy_(buffers[name])


def build_online(config: Config, model: SSLModel) -> EmaTeacher:
    """Make the teacher of a model; UserError for layers or a point that the model lacks, or a setting that is none."""
    check_settings(config, model)
    return EmaTeacher(config, model)


TRAITS = TeacherTraits(follow=build_online)


def check_settings(config: Config, model: SSLModel) -> None:
    """Raise UserError for layers or a point that the model lacks, or a setting of an average that is none."""
    if not 1 <= config.layers <= model.num_layers:
        raise UserError(f"`layers` must lie between 1 and the encoder's {model.num_layers}, but is {config.layers}")
    for name in ("decay_start", "decay_end"):
        if not 0 <= getattr(config, name) <= 1:
            raise UserError(f"`{name}` must be a share between 0 and 1, but is {getattr(config, name)}")
    check_choice("average", config.average, get_args(Average))
    check_choice("schedule", config.schedule, get_args(Schedule))
    if config.freeze_after is not None and config.freeze_after < 0:
        raise UserError(f"`freeze_after` must not be negative, or be null, but is {config.freeze_after}")
    if not config.share_frontend and config.average != "encoder":
        raise UserError(
            f"with `share_frontend: false` the projection must be averaged too, but `average` is {config.average}",
            remedy="give `average: encoder`, or leave `share_frontend` out",
        )
    check_point(config.point, model.config.encoder)


def build(config: Config, sample_rate: int, device: torch.device) -> EmaTeacher:
    """Refuse: the teacher is made of the model that is trained, by `build_online`."""
    raise UserError(
        "the ema teacher follows the model while it is trained; it cannot be used without one",
        remedy="name it in a recipe's `teachers`, for a distillation objective",
    )
