"""The frames of a padded batch, one clip after the other and nothing between: padding costs nothing and cannot leak."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_ssl.products import is_inference


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
