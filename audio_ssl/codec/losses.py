"""What a codec is trained on: multi-scale mel spectrograms and the waveform; and how well its codes are used.

The spectral loss follows EnCodec's (Défossez et al. 2022, arXiv 2210.13438, section 3.4), which at every scale adds the
L1 distance of mel magnitudes to the squared L2 distance of their logarithms. Here both are of the logarithms, so that
soft frames count as loud ones do: a codec for targets should tell them apart, where listening forgives them.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from audio_ssl.metrics.audio import MelMagnitudes


class SpectralLoss(nn.Module):
    """Mean over window lengths of the distance between mel spectrograms.

    Parameters
    ----------
    sample_rate
        Of the waveforms, in Hz.
    windows_samples
        Window lengths; hops are a quarter.
    """

    def __init__(self, sample_rate: int, windows_samples: tuple[int, ...] = (128, 256, 512, 1024, 2048)) -> None:
        super().__init__()
        self._mels = nn.ModuleList(MelMagnitudes(sample_rate, w, min(64, w // 16)) for w in windows_samples)

    def forward(
        self,
        output: Float[Tensor, "batch sample"],
        target: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """Return the loss of each clip; past its end both signals must be zero."""
        if lengths is None:
            lengths = torch.full((len(target),), target.shape[1], device=target.device)
        total = output.new_zeros(len(output))
        for mel in self._mels:
            ours, theirs = mel(output), mel(target)
            logs = torch.log(ours + 1e-5) - torch.log(theirs + 1e-5)
            distance = logs.abs() + 0.5 * logs.square()
            inside = mel.frames_inside(lengths, distance.shape[2])  # type: ignore[operator]
            total = total + (distance.mean(1, keepdim=True) * inside).sum((1, 2)) / inside.sum((1, 2)).clamp(min=1)
        return total / len(self._mels)


def waveform_loss(
    output: Float[Tensor, "batch sample"],
    target: Float[Tensor, "batch sample"],
    lengths: Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, " batch"]:
    """Return the mean absolute difference of each clip; past its end both signals must be zero."""
    difference = (output - target).abs()
    return difference.mean(1) if lengths is None else difference.sum(1) / lengths.clamp(min=1)


def code_statistics(counts: Float[Tensor, "codebook code"]) -> tuple[list[float], list[float]]:
    """Return the perplexity and the share of codes used, codebook by codebook, of how often each code occurred.

    Examples
    --------
    >>> code_statistics(torch.tensor([[2.0, 2.0, 0.0, 0.0]]))
    ([2.0], [0.5])
    """
    share = counts.double() / counts.sum(1, keepdim=True).clamp(min=1e-12)
    entropy = -(share * share.clamp(min=1e-30).log()).sum(1)
    perplexity = torch.where(counts.sum(1) > 0, entropy.exp(), 0.0)
    return [round(value, 6) for value in perplexity.tolist()], (counts > 0).double().mean(1).tolist()
