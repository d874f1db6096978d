"""The wide positional convolution by Fourier transforms: a quarter of the time of the convolution for 128 frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_ssl.models.fast.cpu import gelu_
from audio_ssl.models.positions import ConvPositions

FEWEST_FRAMES = 48
"""Narrower kernels are left to the convolution."""


class FourierPositions(nn.Module):
    """`ConvPositions` with its kernel's spectrum kept.

    Frames are transformed in blocks of twice the kernel, each of which gives the frames that the whole kernel fits
    under (overlap-save). Every clip has blocks of its own, so that it does not matter what is beside it.

    Parameters
    ----------
    positions
        With one convolution.
    """

    def __init__(self, positions: ConvPositions) -> None:
        super().__init__()
        conv = positions.conv
        assert isinstance(conv, nn.Conv1d)
        weight = conv.weight.detach().float()
        dim, inside, self._kernel = weight.shape
        self._groups = conv.groups
        self._spectrum: Tensor
        self._size = 1 << (2 * self._kernel - 1).bit_length()
        self._step = self._size - self._kernel + 1
        spectrum = torch.fft.rfft(weight, self._size).conj().view(self._groups, dim // self._groups, inside, -1)
        # [line * group, input, output], each a small matrix.
        self.register_buffer("_spectrum", spectrum.permute(3, 0, 2, 1).reshape(-1, inside, dim // self._groups))
        self._bias: Tensor
        self.register_buffer("_bias", torch.zeros(dim) if conv.bias is None else conv.bias.detach().float().clone())

    def packed(self, x: Float[Tensor, "1 packed dim"], spans: Sequence[slice]) -> Float[Tensor, "1 packed dim"]:
        """Return position information of clips that lie one after the other."""
        read, kept = self._places(spans)
        # A row of zeros after the others stands for what lies outside a clip.
        rows = torch.cat([x[0].float(), x.new_zeros(1, x.shape[2], dtype=torch.float32)])
        y = self._convolved(rows[read.to(x.device)].view(-1, self._size, x.shape[2]))
        return gelu_(y.flatten(0, 1)[kept.to(x.device)]).to(x.dtype)[None]

    def _places(self, spans: Sequence[slice]) -> tuple[Tensor, Tensor]:
        """Return the rows that blocks are made of, -1 for none, and which rows of the blocks' output are kept."""
        read, kept, first, reach = [], [], 0, torch.arange(self._size) - self._kernel // 2
        for span in spans:
            count = -(-(span.stop - span.start) // self._step)
            row = span.start + self._step * torch.arange(count)[:, None] + reach
            read.append(torch.where((row >= span.start) & (row < span.stop), row, -1).flatten())
            kept.append(first + torch.arange(span.stop - span.start))
            first += count * self._step
        return torch.cat(read), torch.cat(kept)

    def _convolved(self, blocks: Float[Tensor, "block size dim"]) -> Float[Tensor, "block step dim"]:
        count, _, dim = blocks.shape
        lines = torch.fft.rfft(blocks, dim=1).view(count, -1, self._groups, dim // self._groups)
        matrices = lines.permute(1, 2, 0, 3).reshape(len(self._spectrum), count, -1)
        mixed = torch.bmm(matrices, self._spectrum).view(-1, self._groups, count, dim // self._groups)
        y: Tensor = torch.fft.irfft(mixed.permute(2, 0, 1, 3).reshape(count, -1, dim), self._size, dim=1)[
            :, : self._step
        ]
        return y + self._bias
