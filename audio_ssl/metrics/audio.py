"""How close audio comes to a reference: SI-SDR for the waveform, mel distance for what is heard of it.

Both are per clip, on tensors of any device, so that training can report them. Audio past a clip's end must be zero in
both signals.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from audio_ssl.spectra import mel_filters, power_spectrum

_FLOOR = 1e-5


def si_sdr(
    output: Float[Tensor, "batch sample"],
    target: Float[Tensor, "batch sample"],
    lengths: Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, " batch"]:
    """Return the scale-invariant signal-to-distortion ratio of each clip, in dB.

    Le Roux et al. 2019 (arXiv 1811.02508), equation 5, after the means are taken off. Between −80 dB and 80 dB; a
    silent reference gives −80 dB.

    Parameters
    ----------
    output, target
        Reconstruction and reference.
    lengths
        Samples of each clip; None: all.

    Examples
    --------
    >>> target = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    >>> noise = torch.tensor([[0.1, 0.1, -0.1, -0.1]])
    >>> round(float(si_sdr(3 * (target + noise), target)), 3)
    20.0
    """
    samples = target.shape[1]
    length = torch.full_like(target[:, 0], samples) if lengths is None else lengths.to(target.dtype)
    inside = torch.arange(samples, device=target.device) < length[:, None]
    output, target = (
        (signal - signal.sum(1, keepdim=True) / length[:, None].clamp(min=1)) * inside for signal in (output, target)
    )
    energy = target.square().sum(1, keepdim=True)
    projected = (output * target).sum(1, keepdim=True) / energy.clamp(min=1e-12) * target
    signal, noise = projected.square().sum(1), (output - projected).square().sum(1)
    ratio = 10 * (torch.log10(signal.clamp(min=1e-12)) - torch.log10(noise.clamp(min=1e-12)))
    return torch.where(energy[:, 0] > 1e-12, ratio, -80.0).clamp(-80.0, 80.0)


class MelMagnitudes(nn.Module):
    """Magnitudes in triangular mel bands (HTK's scale), frames centred on hops of a quarter window.

    Parameters
    ----------
    sample_rate
        In Hz; the bands reach from 0 Hz to half of it.
    window_samples
        Hann window and FFT; a full-scale sine has magnitude 1/2 or less.
    bands
        Number of mel bands.
    power
        1: magnitudes, 2: powers.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, sample_rate: int, window_samples: int, bands: int, power: int = 1) -> None:
        super().__init__()
        self.hop_samples = window_samples // 4
        self._power = power
        window = torch.hann_window(window_samples)
        self.register_buffer("window", window / window.sum(), persistent=False)
        filters = mel_filters(sample_rate, window_samples, bands, torch.float64).float()
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, waveform: Float[Tensor, "batch sample"]) -> Float[Tensor, "batch band frame"]:
        """Return the spectrogram; beyond its ends the waveform counts as silent."""
        squares = power_spectrum(waveform, self.window, self.hop_samples, center=True)
        # The gradient of a magnitude has no direction at zero.
        return self.filters @ (squares if self._power == 2 else (squares + 1e-12).sqrt())

    def frames_inside(self, lengths: Int[Tensor, " batch"], total_frames: int) -> Float[Tensor, "batch 1 frame"]:
        """Return 1 for frames centred inside their clip, 0 for those past its end."""
        inside = torch.arange(total_frames, device=lengths.device) * self.hop_samples < lengths[:, None]
        return inside[:, None].to(self.window.dtype)


class MelDistance(nn.Module):
    """Mean absolute difference of mel spectrograms in dB, over the bands and frames of each clip.

    As in the evaluation of the Descript codec (Kumar et al. 2023, arXiv 2306.06546), but in dB and at one resolution:
    80 bands, windows of about 64 ms.

    Parameters
    ----------
    sample_rate
        Of both signals, in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        window = 1 << round(torch.log2(torch.tensor(0.064 * sample_rate)).item())
        self.mel = MelMagnitudes(sample_rate, window, 80)

    def forward(
        self,
        output: Float[Tensor, "batch sample"],
        target: Float[Tensor, "batch sample"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """Return the distance of each clip, in dB."""
        levels = [20 * torch.log10(self.mel(signal).clamp(min=_FLOOR)) for signal in (output, target)]
        difference = (levels[0] - levels[1]).abs().mean(1)
        if lengths is None:
            lengths = torch.full((len(target),), target.shape[1], device=target.device)
        inside = self.mel.frames_inside(lengths, difference.shape[1])[:, 0]
        return (difference * inside).sum(1) / inside.sum(1).clamp(min=1)
