"""What a codec is trained on and measured by.

Multi-scale log-mel L1 + L2 and waveform L1 (Défossez et al. 2022, section 3.4); SI-SDR (Le Roux et al. 2019, arXiv
1811.02508), mel distance, and perplexity and usage of each codebook.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.transforms import MelSpectrogram


class SpectralLoss(nn.Module):
    """Mean over window lengths of L1 + L2 between log-mel spectrograms.

    Parameters
    ----------
    sample_rate
        Of the waveforms, in Hz.
    windows_samples
        Window lengths; hops are a quarter.
    """

    def __init__(self, sample_rate: int, windows_samples: tuple[int, ...] = (128, 256, 512, 1024, 2048)) -> None:
        super().__init__()
        self._mels = nn.ModuleList(
            MelSpectrogram(sample_rate, n_fft=w, hop_length=w // 4, n_mels=min(64, w // 16), normalized=True)
            for w in windows_samples
        )

    def forward(self, output: Float[Tensor, "batch sample"], target: Float[Tensor, "batch sample"]) -> Tensor:
        """Return the loss."""
        total = output.new_zeros(())
        for mel in self._mels:
            difference = torch.log(mel(output) + 1e-5) - torch.log(mel(target) + 1e-5)
            total = total + difference.abs().mean() + 0.5 * difference.square().mean()
        return total / len(self._mels)


def waveform_loss(output: Float[Tensor, "batch sample"], target: Float[Tensor, "batch sample"]) -> Tensor:
    """Return the mean absolute difference."""
    return F.l1_loss(output, target)


def si_sdr_db(output: Float[Tensor, "batch sample"], target: Float[Tensor, "batch sample"]) -> Float[Tensor, " batch"]:
    """Return the scale-invariant signal-to-distortion ratio of each clip, in dB."""
    output, target = output - output.mean(1, keepdim=True), target - target.mean(1, keepdim=True)
    energy = target.square().sum(1, keepdim=True).clamp(min=1e-8)
    projected = (output * target).sum(1, keepdim=True) / energy * target
    noise = (output - projected).square().sum(1).clamp(min=1e-8)
    return 10 * torch.log10(projected.square().sum(1).clamp(min=1e-8) / noise)


def code_statistics(codes: Int[Tensor, "batch codebook frame"], codebook_size: int) -> list[tuple[float, float]]:
    """Return perplexity and share of codes used, codebook by codebook.

    Examples
    --------
    >>> code_statistics(torch.tensor([[[0, 1, 0, 1]]]), 4)
    [(2.0, 0.5)]
    """
    statistics = []
    for k in range(codes.shape[1]):
        share = torch.bincount(codes[:, k].flatten(), minlength=codebook_size).double()
        used = float((share > 0).double().mean())
        share = share[share > 0] / share.sum()
        statistics.append((round(float(torch.exp(-(share * share.log()).sum())), 6), used))
    return statistics
