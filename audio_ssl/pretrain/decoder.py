"""A small convolutional decoder that fills in what was left out of the encoder; it is thrown away after training.

data2vec 2.0 (Baevski et al. 2022, arXiv 2212.07525, section 3; fairseq's ``Decoder1d``): the encoder's states go to
their true places, noise to the masked ones; grouped convolutions, each with a layer norm without weights, GELU and a
residual path where the widths allow it; a linear layer back to the encoder's width. The noise of a clip comes from its
key and its clone's number, so that it does not depend on the clip's neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.base.errors import UserError, check_at_least
from audio_ssl.base.versions import added
from audio_ssl.data.frames import frame_mask
from audio_ssl.models.fast.cpu import Dropout
from audio_ssl.models.padding import Visible, hide, put_back
from audio_ssl.pretrain.masking import noise_frames


@dataclass(frozen=True)
class DecoderSizes:
    """Sizes of the decoder; the defaults are data2vec 2.0 audio base's."""

    layers: int = 4
    """Convolutions (data2vec 2.0: 4)."""

    dim: int = 384
    """Width of the convolutions (data2vec 2.0: 384)."""

    kernel_frames: int = 7
    """Kernel of each, odd, in frames (data2vec 2.0: 7)."""

    groups: int = 16
    """Channel groups (data2vec 2.0: 16)."""

    dropout: float = 0.1
    """On the encoder's states (data2vec 2.0: 0.1)."""

    noise_std: float | None = 0.01
    """Masked places start as normal noise of this deviation (data2vec 2.0: 0.01); null: as a learnt embedding."""

    keep_visible: bool = added(False)
    """Add the encoder's own states at visible places, so that the decoder's width does not limit losses on visible
    frames (data2vec 2.0 has no such losses: false)."""


class ConvDecoder(nn.Module):
    """Puts visible frames back and predicts all.

    Parameters
    ----------
    config
        Sizes.
    hidden_dim
        Width of the encoder's states.
    """

    def __init__(self, config: DecoderSizes, hidden_dim: int) -> None:
        super().__init__()
        self._noise_std, self._keep_visible = config.noise_std, config.keep_visible
        self.mask_embedding = nn.Parameter(torch.empty(hidden_dim).uniform_()) if config.noise_std is None else None
        self.dropout = Dropout(config.dropout)
        widths = [hidden_dim, *[config.dim] * config.layers]
        self.layers = nn.ModuleList(
            nn.Conv1d(before, after, config.kernel_frames, padding=config.kernel_frames // 2, groups=config.groups)
            for before, after in pairwise(widths)
        )
        self.projection = nn.Linear(config.dim, hidden_dim)

    def forward(
        self,
        states: Float[Tensor, "row kept dim"],
        visible: Visible,
        mask: Bool[Tensor, "row frame"],
        frames: Int[Tensor, " row"],
        keys: Sequence[int],
    ) -> Float[Tensor, "row frame dim"]:
        """Return predictions at all places, zero past each clip's frames.

        Parameters
        ----------
        states
            The encoder's last, of visible frames.
        visible
            Where these lie.
        mask
            What was left out.
        frames
            Of each row's clip.
        keys
            Of each row; the source of the noise.
        """
        inside = frame_mask(frames, mask.shape[1])[..., None]
        x = seen = put_back(self.dropout(states), visible, mask.shape[1])
        if self.mask_embedding is not None:
            x = hide(x, mask, self.mask_embedding, inside)
        elif self._noise_std:
            x = x.masked_scatter(mask[..., None], self._noise(mask, x.shape[-1], keys).to(x.dtype))
        for layer in self.layers:
            # A clip alone sees zeros past its end at every layer; so must it in a batch.
            y = layer(torch.where(inside, x, 0.0).transpose(1, 2)).transpose(1, 2)
            y = F.gelu(F.layer_norm(y, y.shape[-1:]))
            x = x + y if x.shape[-1] == y.shape[-1] else y
        predicted = cast(Tensor, self.projection(x))
        if self._keep_visible:
            predicted = predicted + seen  # zero at masked places
        return torch.where(inside, predicted, 0.0)

    def decode(
        self,
        states: Sequence[Float[Tensor, "row kept dim"]],
        visible: Visible,
        mask: Bool[Tensor, "row frame"],
        frames: Int[Tensor, " row"],
        keys: Sequence[int],
    ) -> list[Float[Tensor, "row frame dim"]]:
        """Return what is predicted from the last of the encoder's states; the others are as of `forward`."""
        return [self(states[-1], visible, mask, frames, keys)]

    def _noise(self, mask: Tensor, dim: int, keys: Sequence[int]) -> Float[Tensor, "masked dim"]:
        return noise_frames(mask, dim, keys) * cast(float, self._noise_std)


class LayerDecoders(nn.Module):
    """A decoder for each of the last layers, where each has something to predict.

    Parameters
    ----------
    config
        Sizes of each.
    hidden_dim
        Width of the encoder's states.
    layers
        How many.
    """

    def __init__(self, config: DecoderSizes, hidden_dim: int, layers: int) -> None:
        super().__init__()
        self.decoders = nn.ModuleList(ConvDecoder(config, hidden_dim) for _ in range(layers))

    def decode(
        self,
        states: Sequence[Float[Tensor, "row kept dim"]],
        visible: Visible,
        mask: Bool[Tensor, "row frame"],
        frames: Int[Tensor, " row"],
        keys: Sequence[int],
    ) -> list[Float[Tensor, "row frame dim"]]:
        """Return what is predicted from each of the encoder's last states; the others are as of `ConvDecoder`."""
        last = states[-len(self.decoders) :]
        return [one(state, visible, mask, frames, keys) for one, state in zip(self.decoders, last, strict=True)]


def build_decoder(config: DecoderSizes, hidden_dim: int, depth: int = 1) -> ConvDecoder | LayerDecoders:
    """Make the decoder, one for each of the last `depth` layers; UserError for sizes that do not fit together."""
    check_at_least(config, 1, "layers", "dim", "kernel_frames", "groups")
    if config.kernel_frames % 2 == 0:
        raise UserError(f"`kernel_frames` must be odd, but is {config.kernel_frames}", remedy="7 is usual")
    for what, width in (("the encoder's width", hidden_dim), ("`dim`", config.dim)):
        if width % config.groups:
            raise UserError(f"`groups` must divide {what} {width}, but is {config.groups}")
    if not 0 <= config.dropout < 1:
        raise UserError(f"`dropout` must be a share below 1, but is {config.dropout}")
    if config.noise_std is not None and config.noise_std < 0:
        raise UserError(f"`noise_std` must not be negative, but is {config.noise_std}")
    return ConvDecoder(config, hidden_dim) if depth == 1 else LayerDecoders(config, hidden_dim, depth)
