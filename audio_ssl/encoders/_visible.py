"""Encoders that see the visible frames alone: where these lie, how they are taken out and put back.

Masked frames left out: MAE (He et al. 2022, arXiv 2111.06377) for images, data2vec 2.0 (Baevski et al. 2022,
arXiv 2212.07525, section 3) for speech. A file of this folder says ``VISIBLE = True`` if its encoder can do without
frames: it takes `visible` as a fourth argument, then gives states of the visible frames only, and tells positions from
the frames' true places.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from audio_ssl.encoders._frames import frame_mask


class Visible(NamedTuple):
    """The visible frames of masked clips; a row is a clip under one of its masks."""

    places: Int[Tensor, "row kept"]
    """True places, ascending; past a row's own frames the places of others, each once."""

    frames: Int[Tensor, " row"]
    """How many each row has."""


def visible_frames(mask: Bool[Tensor, "row frame"], frames: Int[Tensor, " row"]) -> Visible:
    """Return where the frames are that a mask leaves.

    Examples
    --------
    >>> mask = torch.tensor([[False, True, False], [False, False, False]])
    >>> places, frames = visible_frames(mask, torch.tensor([3, 1]))
    >>> places.tolist(), frames.tolist()
    ([[0, 2], [0, 1]], [2, 1])
    """
    seen = frame_mask(frames, mask.shape[1]) & ~mask
    number = seen.sum(1)
    order = torch.argsort((~seen).to(torch.uint8), dim=1, stable=True)
    return Visible(order[:, : max(1, int(number.max()))], number)


def take_visible(x: Float[Tensor, "row frame dim"], visible: Visible) -> Float[Tensor, "row kept dim"]:
    """Return the visible frames, one after the other."""
    return x.gather(1, visible.places[..., None].expand(-1, -1, x.shape[-1]))


def put_back(x: Float[Tensor, "row kept dim"], visible: Visible, total: int) -> Float[Tensor, "row frame dim"]:
    """Return `total` frames a row with the visible ones at their true places and zeros elsewhere.

    What `x` holds past a row's visible frames must be zero, as an encoder's states are.
    """
    empty = x.new_zeros(len(x), total, x.shape[-1])
    return empty.scatter(1, visible.places[..., None].expand_as(x), x)
