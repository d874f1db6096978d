"""Noise in the place of what is hidden from the encoder (BEST-RQ, Chiu et al. 2022, arXiv 2202.01855)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


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
