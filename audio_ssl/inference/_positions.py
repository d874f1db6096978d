"""The wide positional convolution by Fourier transforms: a quarter of the time of the convolution for 128 frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_ssl.encoders._positions import ConvPositions
from audio_ssl.products import gelu_

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
        counts = [-(-(span.stop - span.start) // self._step) for span in spans]
        blocks = x.new_zeros(sum(counts), self._size, x.shape[2], dtype=torch.float32)
        before, first = self._kernel // 2, 0
        for span, count in zip(spans, counts, strict=True):
            for number in range(count):
                start = number * self._step - before
                begin, end = max(start, 0), min(start + self._size, span.stop - span.start)
                part = x[0, span.start + begin : span.start + end]
                blocks[first + number, begin - start : begin - start + len(part)] = part
            first += count
        y, first = self._convolved(blocks), 0
        kept = []
        for span, count in zip(spans, counts, strict=True):
            kept.append(y[first : first + count].flatten(0, 1)[: span.stop - span.start])
            first += count
        return gelu_(torch.cat(kept)).to(x.dtype)[None]

    def _convolved(self, blocks: Float[Tensor, "block size dim"]) -> Float[Tensor, "block step dim"]:
        count, _, dim = blocks.shape
        lines = torch.fft.rfft(blocks, dim=1).view(count, -1, self._groups, dim // self._groups)
        matrices = lines.permute(1, 2, 0, 3).reshape(len(self._spectrum), count, -1)
        mixed = torch.bmm(matrices, self._spectrum).view(-1, self._groups, count, dim // self._groups)
        y: Tensor = torch.fft.irfft(mixed.permute(2, 0, 1, 3).reshape(count, -1, dim), self._size, dim=1)[
            :, : self._step
        ]
        return y + self._bias
