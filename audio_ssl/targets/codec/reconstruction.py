"""Losses of a codec, distances of audio to a reference, and reconstructions to listen to.

The spectral loss follows EnCodec's (Défossez et al. 2022, arXiv 2210.13438, section 3.4), which at every scale adds the
L1 distance of mel magnitudes to the squared L2 distance of their logarithms. Here both are of the logarithms, so that
soft frames count as loud ones do: a codec for targets should tell them apart, where listening forgives them.

SI-SDR (of the waveform) and mel distance (of what is heard) are per clip, on tensors of any device, so that training
can report them. Audio past a clip's end must be zero in both signals.

``reconstructions/`` beside the codec holds the original and the reconstruction of a few clips, as FLAC files.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import soundfile
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from audio_ssl.artifacts.reconstructions import (
    RECONSTRUCTIONS_FOLDER,
    Reconstruction,
    Reconstructions,
    write_reconstructions,
)
from audio_ssl.base.errors import AudioError
from audio_ssl.base.files import atomic_write
from audio_ssl.data.clip_reader import ClipReader
from audio_ssl.data.frames import frame_mask
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip
from audio_ssl.models.spectra import mel_filters, power_spectrum
from audio_ssl.targets.codec.rvq_vae import Codec


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
    inside = frame_mask(length, samples)
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


MOST_CLIPS = 4
MOST_SECONDS = 4.0


def make_reconstructions(
    codec: Codec, clips: Sequence[Clip], held_out: bool, reader: ClipReader, ledger: ErrorLedger, folder: Path
) -> None:
    """Reconstruct the beginnings of the first few clips that can be read.

    Parameters
    ----------
    codec
        On any device; left in evaluation mode.
    clips
        In order of preference; none gives no folder.
    held_out
        Whether the codec has not been trained on them.
    reader, ledger
        Where audio comes from, and where files that cannot be read are noted.
    folder
        The codec's; ``reconstructions/`` below it is written.
    """
    device = next(codec.parameters()).device
    distance = MelDistance(codec.config.sample_rate).to(device)
    codec.eval()
    rows: list[Reconstruction] = []
    for clip in clips:
        if len(rows) == MOST_CLIPS:
            break
        try:
            waveform = reader.crop(clip, 0, int(MOST_SECONDS * codec.config.sample_rate))
        except AudioError as error:
            ledger.record(clip.path, error.reason, id=clip.id)
            continue
        if len(waveform) < codec.grid.hop_samples:
            continue
        original = waveform.to(device)[None]
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            output = codec(original).reconstruction
        row = Reconstruction(
            id=clip.id,
            seconds=round(len(waveform) / codec.config.sample_rate, 3),
            si_sdr=round(float(si_sdr(output, original)), 3),
            mel_distance=round(float(distance(output, original)), 3),
            original=f"{len(rows)}_original.flac",
            reconstruction=f"{len(rows)}_reconstruction.flac",
        )
        for name, audio in ((row.original, original), (row.reconstruction, output)):
            _write(folder / RECONSTRUCTIONS_FOLDER / name, audio[0], codec.config.sample_rate)
        rows.append(row)
    if rows:
        write_reconstructions(folder, Reconstructions(held_out, codec.config.sample_rate, tuple(rows)))


def spread_out(clips: Sequence[Clip]) -> list[Clip]:
    """Order clips so that the first few come from as many speakers or tracks as there are."""
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(str(clip.speaker or clip.extra.get("track") or clip.id), []).append(clip)
    rounds = itertools.zip_longest(*groups.values())
    return [clip for group in rounds for clip in group if clip is not None]


def _write(path: Path, audio: Tensor, sample_rate: int) -> None:
    with atomic_write(path) as partial:
        soundfile.write(partial, audio.clamp(-1, 1).cpu().numpy(), sample_rate, subtype="PCM_16")
