"""Convolutional positions (wav2vec 2.0, Baevski et al. 2020, section 2): a wide grouped convolution over the frames."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations


class ConvPositions(nn.Module):
    """Weight-normalised grouped convolution and GELU; the caller adds the result to the frames.

    Parameters
    ----------
    dim
        Width of the frames.
    kernel_frames
        Width of the kernel; an even kernel's extra last frame is cut, as in fairseq.
    groups
        Channel groups.
    """

    def __init__(self, dim: int, kernel_frames: int, groups: int) -> None:
        super().__init__()
        conv = nn.Conv1d(dim, dim, kernel_frames, padding=kernel_frames // 2, groups=groups)
        nn.init.normal_(conv.weight, std=(4.0 / (kernel_frames * dim)) ** 0.5)
        nn.init.zeros_(cast(Tensor, conv.bias))
        self.conv = parametrizations.weight_norm(conv, dim=2)
        self._cut = 1 if kernel_frames % 2 == 0 else 0

    def forward(self, x: Float[Tensor, "batch frame dim"]) -> Float[Tensor, "batch frame dim"]:
        """Return position information of frames that are zero wherever there is padding."""
        y = self.conv(x.transpose(1, 2))
        if self._cut:
            y = y[..., : -self._cut]
        return F.gelu(y).transpose(1, 2)


def frame_mask(frames: Tensor, total: int) -> Tensor:
    """Return ``[batch, frame]``, True where a frame belongs to its clip."""
    return torch.arange(total, device=frames.device) < frames[:, None]
