"""Frames of a padded batch: packed without the padding, hidden from the encoder, or left out of it.

`pack` puts the frames of all clips one after the other, so that padding costs nothing and cannot leak.

Masked frames can be left out of an encoder: MAE (He et al. 2022, arXiv 2111.06377) for images, data2vec 2.0 (Baevski
et al. 2022, arXiv 2212.07525, section 3) for speech. `Visible` says where the other frames lie. An encoder that
`leaves_out` frames gives states of the visible frames only, at the positions of their true places.

`HiddenNoise` replaces hidden frames by noise (BEST-RQ, Chiu et al. 2022, arXiv 2202.01855).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from audio_ssl.data.frames import frame_mask
from audio_ssl.models.fast.cpu import is_inference


def key_mask(frames: Int[Tensor, " batch"], total: int) -> Bool[Tensor, "batch 1 1 frame"]:
    """Return the frames that may be attended to; a clip without frames attends to its first, so nothing becomes NaN."""
    return frame_mask(frames.clamp(min=1), total)[:, None, None]


def nothing_padded(inside: Bool[Tensor, ...]) -> bool:
    """Return whether all places belong to clips; False in compiled and exported code, which must serve any lengths."""
    return not torch.compiler.is_compiling() and bool(inside.all())


def hide(
    x: Float[Tensor, "batch frame dim"],
    mask: Bool[Tensor, "batch frame"] | None,
    embedding: Float[Tensor, " dim"],
    inside: Bool[Tensor, "batch frame 1"],
) -> Float[Tensor, "batch frame dim"]:
    """Replace masked frames by the mask embedding and frames past the clip by zeros."""
    if mask is not None:
        x = torch.where(mask[..., None], embedding.to(x.dtype), x)
    # where, not multiplication: garbage in the padding may be infinite, and inf * 0 is NaN.
    return torch.where(inside, x, 0.0)


def may_pack(encoder: nn.Module, x: Tensor) -> bool:
    """Return whether frames are packed: on a CPU, where nothing is learnt."""
    return not encoder.training and is_inference(x)


def pack(x: Float[Tensor, "batch frame ..."], counts: Sequence[int]) -> Float[Tensor, "1 packed ..."]:
    """Return the clips' own frames as one row; no copy where there is no padding."""
    if all(count == x.shape[1] for count in counts):
        return x.reshape(1, -1, *x.shape[2:])
    return torch.cat([row[:count] for row, count in zip(x, counts, strict=True)])[None]


def unpack(x: Float[Tensor, "1 packed dim"], counts: Sequence[int], total: int) -> Float[Tensor, "batch frame dim"]:
    """Return the clips as rows of `total` frames, zero past their own; no copy where there is no padding."""
    if all(count == total for count in counts):
        return x.view(len(counts), total, x.shape[2])
    out = x.new_empty(len(counts), total, x.shape[2])
    for row, part in zip(out, torch.split(x[0], list(counts)), strict=True):
        row[: len(part)] = part
        row[len(part) :] = 0.0
    return out


def spans(counts: Sequence[int]) -> list[slice]:
    """Return where the clips lie that have frames.

    Examples
    --------
    >>> spans([2, 0, 3])
    [slice(0, 2, None), slice(2, 5, None)]
    """
    found, start = [], 0
    for count in counts:
        if count:
            found.append(slice(start, start + count))
        start += count
    return found


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


class HiddenNoise(NamedTuple):
    """What stands in the place of hidden frames."""

    mask: Bool[Tensor, "batch frame"]
    """True where a frame is hidden."""

    values: Float[Tensor, "batch frame width"]
    """What a hidden frame is replaced by; zero elsewhere."""

    def row(self, row: int, frames: int) -> HiddenNoise:
        """Return the noise of one clip of that many frames, alone."""
        return HiddenNoise(self.mask[row : row + 1, :frames], self.values[row : row + 1, :frames])

    def put(self, x: Float[Tensor, "batch place ..."]) -> Float[Tensor, "batch place ..."]:
        """Replace the hidden frames of `x`, each of which holds as many numbers of `x` as one of `values`.

        Parameters
        ----------
        x
            Frames or samples; frame i begins at place ``i * width`` of a clip's numbers. What is past the last frame
            stays.
        """
        flat = x.reshape(len(x), -1)
        hidden = self.mask[..., None].expand(self.values.shape).reshape(len(x), -1)[:, : flat.shape[1]]
        values = self.values.reshape(len(x), -1)[:, : flat.shape[1]].to(flat.dtype)
        filled = torch.where(hidden, values, flat[:, : hidden.shape[1]])
        return torch.cat([filled, flat[:, hidden.shape[1] :]], 1).view(x.shape)


def frames_inside(frames: Int[Tensor, " batch"], total: int) -> Bool[Tensor, "batch frame 1"]:
    """Return `frame_mask` with an axis for what a frame holds."""
    return frame_mask(frames, total)[..., None]
