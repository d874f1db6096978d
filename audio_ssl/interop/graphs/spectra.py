"""Spectra by products of real matrices: the frontends' numbers without complex tensors or Fourier operators.

Runtimes of graphs know products everywhere and Fourier transforms of any length nearly nowhere. A mel spectrogram is a
product of its frames with sines and cosines. The transform of a constant-Q block, whose length is R x H samples, is two
products (Cooley and Tukey 1965, Mathematics of Computation 19): of R hops, then of H samples in each, with a turn in
between. Only the lines that some kernel has are computed.

Products are float64: the errors of a long float32 sum lie far above the quiet bands beside a loud tone, and the
logarithm shows them. A fast transform's sums are short, so the frontends stay in float32.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from audio_ssl.models.frontends.cqt import BLOCK_FRAMES, CQTFrontend
from audio_ssl.models.frontends.nnaudio import NNAudioFrontend
from audio_ssl.models.spectra import MelSpectrogram


class PortableMel(MelSpectrogram):
    """The powers of `MelSpectrogram` by a convolution.

    Parameters
    ----------
    mel
        What it stands for; its window and filters are taken over.
    """

    def __init__(self, mel: MelSpectrogram) -> None:
        nn.Module.__init__(self)
        self._hop_samples, self._center, self._zeros = mel._hop_samples, mel._center, mel._zeros
        self.register_buffer("filters", mel.filters.clone(), persistent=False)
        lines = len(mel.window)
        angle = _angles(torch.arange(lines // 2 + 1), torch.arange(lines), lines)
        waves = torch.cat([angle.cos(), angle.sin()]) * mel.window.double()
        self.register_buffer("waves", waves.T.contiguous(), persistent=False)

    def forward(self, waveform: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch frame band"]:
        """Return the powers."""
        waves = self.get_buffer("waves")
        waveform = F.pad(waveform, (len(waves) // 2,) * 2 if self._center else self._zeros)
        frames = (waveform.shape[1] - len(waves)) // self._hop_samples + 1
        starts = torch.arange(frames, device=waveform.device) * self._hop_samples
        place = starts[:, None] + torch.arange(len(waves), device=waveform.device)
        real, imaginary = (waveform[:, place].double() @ waves).chunk(2, dim=-1)
        return (real.square() + imaginary.square()).float() @ self.filters.T


class PortableCQT(CQTFrontend):
    """The magnitudes of `CQTFrontend` by products.

    Parameters
    ----------
    cqt
        What it stands for.
    """

    def __init__(self, cqt: CQTFrontend) -> None:
        super().__init__(cqt._config, cqt.grid.sample_rate)
        hops, hop = self._rate_bins, self._config.hop_samples
        rows = [self.get_buffer(f"_values_{number}").shape[2] for number in range(len(self._first_rows))]
        last_row = max(first + count for first, count in zip(self._first_rows, rows, strict=True))
        over_hops = _angles(torch.arange(hops), torch.arange(hops), hops)
        turn = _angles(torch.arange(hops), torch.arange(hop), hops * hop)
        within = _angles(torch.arange(hop), torch.arange(last_row), hop)
        back = _angles(torch.arange(hops), torch.arange(BLOCK_FRAMES) + self._margin_frames, hops)
        for name, angle in (("hops", over_hops), ("turn", turn), ("within", within), ("back", back)):
            self.register_buffer(f"_{name}_cosine", angle.cos(), persistent=False)
            self.register_buffer(f"_{name}_sine", angle.sin(), persistent=False)

    def magnitudes(self, waveform: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch frame bin"]:
        """Return the magnitudes of float32 waveforms, with zeros past both ends."""
        hop, total = self._config.hop_samples, self.grid.num_frames(waveform.shape[1])
        # At least two: code for one block is code for one only.
        blocks = (total + 2 * BLOCK_FRAMES - 1) // BLOCK_FRAMES
        starts = torch.arange(blocks, device=waveform.device) * (BLOCK_FRAMES * hop) - self._margin_frames * hop
        place = starts[:, None] + torch.arange(self._rate_bins * hop, device=waveform.device)
        inside = (place >= 0) & (place < waveform.shape[1])
        samples = torch.where(inside, waveform[:, place.clamp(0, waveform.shape[1] - 1)], 0.0)
        found = self._of_blocks(samples.flatten(0, 1).view(-1, self._rate_bins, hop).double())
        # By index, as no reshape of open axes can be proved.
        frame = torch.arange(total, device=waveform.device)
        rows = torch.arange(waveform.shape[0], device=waveform.device)[:, None] * blocks + frame // BLOCK_FRAMES
        return found[rows, (frame % BLOCK_FRAMES).expand_as(rows)]

    def _of_blocks(self, samples: Float[Tensor, "block hop sample"]) -> Float[Tensor, "block frame bin"]:
        # The sign of a forward transform is in the sines.
        real, imaginary = self._part("hops") @ samples, -(self._part("hops", "sine") @ samples)
        real, imaginary = _product(real, imaginary, self._part("turn"), -self._part("turn", "sine"))
        across, down = self._part("within"), self._part("within", "sine")
        lines = real @ across + imaginary @ down, imaginary @ across - real @ down
        # [line of a rate, row, block]: for each line a product of kernels with blocks.
        real, imaginary = (part.permute(1, 2, 0) for part in lines)
        folded: tuple[list[Tensor], list[Tensor]] = ([], [])
        for number, first in enumerate(self._first_rows):
            values = self.get_buffer(f"_values_{number}").double()
            cosine, sine = values[..., 0], values[..., 1]
            some, others = (part[:, first : first + values.shape[2]] for part in (real, imaginary))
            folded[0].append(cosine @ some - sine @ others)
            folded[1].append(cosine @ others + sine @ some)
        real, imaginary = (torch.cat(parts, 1).permute(2, 1, 0) for parts in folded)
        cosine, sine = self._part("back"), self._part("back", "sine")
        level = torch.sqrt((real @ cosine - imaginary @ sine).square() + (imaginary @ cosine + real @ sine).square())
        return (level / (self._rate_bins * self._config.hop_samples)).float().transpose(1, 2)

    def _part(self, name: str, part: str = "cosine") -> Tensor:
        return self.get_buffer(f"_{name}_{part}")


class PortableNNAudio(NNAudioFrontend):
    """`NNAudioFrontend` whose magnitudes are roots of real numbers.

    Parameters
    ----------
    frontend
        What it stands for; its kernels are taken over.
    """

    def __init__(self, frontend: NNAudioFrontend) -> None:
        super().__init__(frontend._config, frontend.grid.sample_rate)
        self.load_state_dict(frontend.state_dict())

    def magnitude(self, parts: Float[Tensor, "batch bin frame 2"]) -> Float[Tensor, "batch bin frame"]:
        """Return the magnitudes of complex numbers."""
        return parts.square().sum(-1).sqrt()


def make_portable(module: nn.Module) -> None:
    """Replace, in place, what a graph cannot hold by what gives the same numbers."""
    for name, child in list(module.named_children()):
        other = _portable(child)
        if other is None:
            make_portable(child)
        else:
            setattr(module, name, other.eval())


def _portable(module: nn.Module) -> nn.Module | None:
    if type(module) is MelSpectrogram:
        return PortableMel(module)
    if type(module) is CQTFrontend:
        return PortableCQT(module)
    return PortableNNAudio(module) if type(module) is NNAudioFrontend else None


def _angles(one: Int[Tensor, " row"], other: Int[Tensor, " column"], period: int) -> Float[Tensor, "row column"]:
    """Return ``2 pi * row * column / period`` in float64, with whole turns taken out first."""
    return (one[:, None] * other % period).double() * (2 * math.pi / period)


def _product(real: Tensor, imaginary: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
    return real * cosine - imaginary * sine, real * sine + imaginary * cosine
