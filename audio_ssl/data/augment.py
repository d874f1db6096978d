"""In-batch noise mixture: stretches of other clips are added to each waveform while its targets stay clean.

MERT (Li et al. 2023, arXiv 2306.00107, section 3.3): with probability 0.5 a clip gets one to three stretches of 0.5 to
1 s from the other clips of its batch, at gain 1. The released code applies the mixture with one minus the probability
and at inference too; here `prob` is the share of clips that are mixed, and only training calls this.

The stretches are cut from clips, never from padding, and each from a single clip, so none has a seam in it.
Left out on purpose: noise from a separate corpus, reverberation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.errors import UserError


@dataclass(frozen=True)
class Mixing:
    """In-batch noise mixture; the defaults are MERT 95M's."""

    prob: float = 0.5
    """Share of clips that are mixed (MERT, arXiv 2306.00107)."""

    max_segments: int = 3
    """A mixed clip gets 1 to this many stretches, drawn evenly (MERT config)."""

    min_seconds: float = 0.5
    """Shortest stretch, in seconds (12,000 samples at 24 kHz in MERT 95M)."""

    max_seconds: float = 1.0
    """Longest stretch, in seconds (24,000 samples in MERT 95M; 1.5 s in 330M)."""

    gain: float = 1.0
    """Factor on the stretches where `snr_db` is not given (MERT config)."""

    snr_db: tuple[float, float] | None = None
    """Range of the clip's energy over the stretch's, in dB, drawn evenly (as in WavLM); None: fixed `gain`."""

    def check(self, where: str) -> None:
        """Raise UserError where a value makes no sense."""
        if not 0 <= self.prob <= 1:
            raise UserError(f"`prob` must be a share between 0 and 1, but is {self.prob}", where=f"{where}.prob")
        if self.max_segments < 1:
            raise UserError(f"must be at least 1, but is {self.max_segments}", where=f"{where}.max_segments")
        if not 0 < self.min_seconds <= self.max_seconds:
            raise UserError(
                f"`min_seconds` must be above 0 and at most `max_seconds`, but they are {self.min_seconds} and "
                f"{self.max_seconds}",
                where=where,
            )


def mix_in_batch(
    waveform: Float[Tensor, "batch sample"],
    lengths: Int[Tensor, " batch"],
    mixing: Mixing,
    sample_rate: int,
    generator: torch.Generator,
) -> Float[Tensor, "batch sample"]:
    """Add stretches of other clips of the batch.

    Parameters
    ----------
    waveform
        Padded waveforms; what lies past a clip's length is left as it is.
    lengths
        Samples of each clip.
    mixing
        What to add.
    sample_rate
        In Hz, to turn seconds into samples.
    generator
        A generator on the CPU; the same draws on every device.

    Returns
    -------
    A new tensor; a batch of one clip is returned unchanged.
    """
    batch, total = waveform.shape
    if batch < 2 or mixing.prob == 0:
        return waveform
    own = lengths.cpu()
    draws = _draw(own, mixing, sample_rate, generator)
    other, source, target, length = (x.to(waveform.device) for x in draws[:4])
    longest = int(draws[3].max())
    if longest == 0:
        return waveform
    offset = torch.arange(longest, device=waveform.device)
    inside = offset < length[..., None]
    read = (other[..., None] * total + source[..., None] + offset).clamp(max=batch * total - 1)
    stretch = torch.where(inside, waveform.reshape(-1)[read], waveform.new_zeros(()))
    gain = _gains(waveform, lengths, stretch, length, draws[4].to(waveform), mixing)
    write = (target[..., None] + offset).clamp(max=total - 1)
    added = torch.zeros_like(waveform)
    added.scatter_add_(1, write.reshape(batch, -1), (stretch * gain[..., None]).reshape(batch, -1))
    return waveform + added


def _draw(
    lengths: Tensor, mixing: Mixing, sample_rate: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Draw, per clip and segment: the other clip, where it is read, where it is added, its length (0: none), a share.

    Every number is drawn whether used or not, so what one clip gets does not depend on another's luck.
    """
    batch, most = len(lengths), mixing.max_segments
    shape = (batch, most)

    def uniform(*size: int) -> Tensor:
        return torch.rand(*size, generator=generator, dtype=torch.float64)

    mixed = uniform(batch) < mixing.prob
    number = torch.randint(1, most + 1, (batch,), generator=generator)
    other = torch.randint(0, batch - 1, shape, generator=generator)
    other = other + (other >= torch.arange(batch)[:, None]).long()
    shortest, longest = round(mixing.min_seconds * sample_rate), round(mixing.max_seconds * sample_rate)
    length = shortest + (uniform(*shape) * (longest - shortest + 1)).long()
    length = torch.minimum(length, torch.minimum(lengths[other], lengths[:, None]))
    source = (uniform(*shape) * (lengths[other] - length + 1)).long()
    target = (uniform(*shape) * (lengths[:, None] - length + 1)).long()
    share = uniform(*shape)
    used = mixed[:, None] & (torch.arange(most) < number[:, None])
    return other, source, target, torch.where(used, length, 0), share


def _gains(waveform: Tensor, lengths: Tensor, stretch: Tensor, length: Tensor, share: Tensor, mixing: Mixing) -> Tensor:
    if mixing.snr_db is None:
        return torch.full_like(share, mixing.gain)
    low, high = mixing.snr_db
    valid = torch.arange(waveform.shape[1], device=waveform.device) < lengths.to(waveform.device)[:, None]
    clip_power = torch.where(valid, waveform.square(), 0.0).sum(1) / valid.sum(1).clamp(min=1)
    stretch_power = stretch.square().sum(-1) / length.clamp(min=1)
    wanted = clip_power[:, None] / 10 ** ((low + share * (high - low)) / 10)
    # A silent stretch adds nothing, whatever its gain.
    return torch.where(stretch_power > 0, (wanted / stretch_power.clamp(min=1e-12)).sqrt(), 0.0)
