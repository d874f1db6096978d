"""The model's own running average as teacher: data2vec (Baevski et al. 2022, arXiv 2202.03555, sections 3.2 and 3.3).

The teacher hears the clean, unmasked waveform. Its targets are the mean of its last layers' outputs, each normalised
over the clip's frames. It follows the model after every update, so its targets cannot be stored, and it lives in the
learner: its weights are in checkpoints and never in the optimiser.

The published code takes the feed-forward part's output before the residual path of each layer; here it is the layer's
output, which every encoder has. Its transformer is averaged and the frontend shared (`share_frontend`).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from audio_ssl.data.targets import TargetSpec
from audio_ssl.errors import UserError

ONLINE = True


@dataclass(frozen=True)
class Config:
    """Layers and decay; the defaults are data2vec audio base's."""

    layers: int = 8
    """The last layers whose outputs are averaged (data2vec: 8)."""

    decay_start: float = 0.999
    """Share of the old weights that stays with each update, at the start (data2vec: 0.999)."""

    decay_end: float = 0.9999
    """The same from `decay_steps` on (data2vec: 0.9999)."""

    decay_steps: int = 30_000
    """Updates over which the decay rises linearly (data2vec: 30,000)."""

    share_frontend: bool = True
    """Take the frontend as the model has it, instead of its average (data2vec: yes)."""


class EmaTeacher(nn.Module):
    """Follows a model and gives targets.

    Parameters
    ----------
    config
        Layers and decay.
    model
        The model that is trained; it has `frontend`, `encoder`, `grid` and `dim`, and is copied.
    """

    def __init__(self, config: Config, model: nn.Module) -> None:
        super().__init__()
        self._config = config
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.spec = TargetSpec("values", int(model.dim), None, model.grid)  # type: ignore[arg-type]
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay without dropout, whatever the learner does."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self,
        waveform: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"],
        features: tuple[Tensor, Tensor] | None = None,
    ) -> Float[Tensor, "batch frame dim"]:
        """Return the targets of a batch, float32.

        Parameters
        ----------
        waveform
            Clean: neither mixed nor masked.
        lengths
            Samples of each clip.
        features
            What the trained model's frontend gives for this waveform and the frames of each clip, where that is known:
            it is not computed again if the frontend is shared.
        """
        if features is not None and self._config.share_frontend:
            frames = features[1]
            hidden = self.model.encoder(features[0].detach(), frames)  # type: ignore[operator]
        else:
            hidden, frames, _ = self.model(waveform, lengths)
        inside = (torch.arange(hidden[-1].shape[1], device=waveform.device) < frames[:, None])[..., None]
        last = hidden[-self._config.layers :]
        total = torch.zeros_like(last[0], dtype=torch.float32)
        for state in last:
            total += normalize_over_frames(state, inside)
        return total / len(last)

    def decay(self, step: int) -> float:
        """Return the share of the old weights that stays at an update."""
        config = self._config
        share = min(1.0, step / max(1, config.decay_steps))
        return config.decay_start + (config.decay_end - config.decay_start) * share

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model after update `step` (from 0); what is shared becomes the model's own."""
        decay = self.decay(step)
        theirs = dict(model.named_parameters())
        for name, mine in self.model.named_parameters():
            shared = self._config.share_frontend and name.startswith("frontend.")
            keep = 0.0 if shared else decay
            mine.mul_(keep).add_(theirs[name].detach(), alpha=1 - keep)
        buffers = dict(model.named_buffers())
        for name, value in self.model.named_buffers():
            value.copy_(buffers[name])


def normalize_over_frames(
    state: Float[Tensor, "batch frame dim"], inside: Tensor, eps: float = 1e-5
) -> Float[Tensor, "batch frame dim"]:
    """Give each channel of each clip zero mean and unit variance over the clip's frames; zero past them."""
    values = torch.where(inside, state.float(), 0.0)
    count = inside.sum(1, keepdim=True).clamp(min=1)
    centred = torch.where(inside, values - values.sum(1, keepdim=True) / count, 0.0)
    return centred * (centred.square().sum(1, keepdim=True) / count + eps).rsqrt()


def build_online(config: Config, model: nn.Module) -> EmaTeacher:
    """Make the teacher of a model; UserError for more layers than there are, or a decay that is none."""
    layers = int(model.num_layers)  # type: ignore[arg-type]
    if not 1 <= config.layers <= layers:
        raise UserError(f"`layers` must lie between 1 and the encoder's {layers}, but is {config.layers}")
    for name in ("decay_start", "decay_end"):
        if not 0 <= getattr(config, name) <= 1:
            raise UserError(f"`{name}` must be a share between 0 and 1, but is {getattr(config, name)}")
    return EmaTeacher(config, model)


def build(config: Config, sample_rate: int, device: torch.device) -> EmaTeacher:
    """Refuse: the teacher is made of the model that is trained, by `build_online`."""
    raise UserError(
        "the ema teacher follows the model while it is trained; it cannot be used without one",
        remedy="name it in a recipe's `teachers`, for a distillation objective",
    )
