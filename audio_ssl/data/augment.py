"""Adds stretches of other clips, or of recordings of noise, to waveforms while their targets stay clean.

In-batch noise mixture: stretches of other clips are added to each waveform while its targets stay clean.

MERT (Li et al. 2023, arXiv 2306.00107, section 3.3): with probability 0.5 a clip gets one to three stretches of 0.5 to
1 s from the other clips of its batch, at gain 1. The released code applies the mixture with one minus the probability
and at inference too; here `prob` is the share of clips that are mixed, and only training calls this.

WavLM (Chen et al. 2022, arXiv 2110.13900, algorithm 1; UniSpeech's `mixing_collated_audios`): with probability 0.2 a
clip gets one stretch, as long as chance wants up to half of the clip, at a level that sets the energies of the two
whole clips -5 to 5 dB apart: ``max_share: 0.5, snr_of: clip, snr_db: [-5, 5]``. The released code lets a clip be mixed
with itself, and takes stretches from clips that are mixed already; here they come from other clips, which are clean.
With `noise` some clips get a stretch of a recording of noise in the place of another clip's (`audio_ssl.data.augment`).

The stretches are cut from clips, never from padding, and each from a single clip, so none has a seam in it.
Left out on purpose: reverberation.

Noise from recordings of it, added to the waveforms of training while their targets stay clean.

WavLM (Chen et al. 2022, arXiv 2110.13900, algorithm 1; UniSpeech's `mixing_collated_audios`): a clip that is mixed
gets, with some probability, one stretch of noise in the place of another clip's: as long as chance wants up to half of
the clip, at a level that sets the clip's mean energy -5 to 20 dB over that of the whole recording. Whether, which,
where and how loud comes from the crop's own key, so the noise is the same in whatever batch the crop lands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from audio_ssl.base.errors import AudioError, UserError
from audio_ssl.base.versions import added
from audio_ssl.data.clip_reader import ClipReader
from audio_ssl.data.clip_table import read_table
from audio_ssl.data.frames import frame_mask
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.manifest import Clip


@dataclass(frozen=True)
class Noise:
    """Recordings of noise, at the levels of WavLM's code (Chen et al. 2022, arXiv 2110.13900)."""

    manifest: str
    """A manifest (.jsonl) of noise, such as the DNS challenge's; a row of it is read whole."""

    prob: float = 0.5
    """Share of the mixed clips that get noise in the place of another clip (WavLM's code leaves it to its user)."""

    snr_db: tuple[float, float] = (-5.0, 20.0)
    """Range of the clip's mean energy over that of the whole recording of noise, in dB, drawn evenly (WavLM)."""


@dataclass(frozen=True)
class Mixing:
    """In-batch noise mixture; the defaults are MERT 95M's."""

    prob: float = 0.5
    """Share of clips that are mixed (MERT, arXiv 2306.00107)."""

    max_segments: int = 3
    """A mixed clip gets 1 to this many stretches, drawn evenly (MERT config)."""

    min_seconds: float = 0.5
    """Shortest stretch, in seconds (12,000 samples at 24 kHz in MERT 95M; WavLM: 0)."""

    max_seconds: float = 1.0
    """Longest stretch, in seconds (24,000 samples in MERT 95M; 1.5 s in 330M)."""

    max_share: float | None = added(None)
    """Longest stretch as a share of the clip it is added to, in place of `max_seconds` (WavLM: 0.5); null: none."""

    gain: float = 1.0
    """Factor on the stretches where `snr_db` is not given (MERT config)."""

    snr_db: tuple[float, float] | None = None
    """Range of the clip's mean energy over the other's, in dB, drawn evenly (WavLM: -5 to 5); null: fixed `gain`."""

    snr_of: Literal["stretch", "clip"] = added("stretch")
    """Whose energy `snr_db` compares with the clip's: the stretch's, or that of the clip it is cut from (WavLM)."""

    noise: Noise | None = added(None)
    """Recordings of noise; some mixed clips get a stretch of one in the place of another clip (WavLM); null: none."""

    def check(self, where: str) -> None:
        """Raise UserError where a value makes no sense."""
        if not 0 <= self.prob <= 1:
            raise UserError(f"`prob` must be a share between 0 and 1, but is {self.prob}", where=f"{where}.prob")
        if self.max_segments < 1:
            raise UserError(f"must be at least 1, but is {self.max_segments}", where=f"{where}.max_segments")
        if self.max_share is not None and not 0 < self.max_share <= 1:
            raise UserError(
                f"`max_share` must be a share above 0 and at most 1, or null, but is {self.max_share}",
                where=f"{where}.max_share",
            )
        if self.min_seconds < 0:
            raise UserError(
                f"`min_seconds` must be at least 0, but is {self.min_seconds}", where=f"{where}.min_seconds"
            )
        if self.noise is not None and not 0 <= self.noise.prob <= 1:
            raise UserError(
                f"`prob` must be a share between 0 and 1, but is {self.noise.prob}", where=f"{where}.noise.prob"
            )
        if self.max_share is None and not (self.max_seconds > 0 and self.min_seconds <= self.max_seconds):
            raise UserError(
                f"`max_seconds` must be above 0 and at least `min_seconds`, {self.min_seconds}, but is "
                f"{self.max_seconds}",
                where=where,
            )

    def range_samples(self, lengths: Int[Tensor, ...], sample_rate: int) -> tuple[Tensor, Tensor]:
        """Return the fewest and the most samples of a stretch on clips of these lengths, in samples."""
        if self.max_share is None:
            longest = torch.full_like(lengths, round(self.max_seconds * sample_rate))
        else:
            longest = (self.max_share * lengths).long()
        return longest.clamp(max=round(self.min_seconds * sample_rate)), longest


def mix_in_batch(
    waveform: Float[Tensor, "batch sample"],
    lengths: Int[Tensor, " batch"],
    mixing: Mixing,
    sample_rate: int,
    generator: torch.Generator,
    noise: Float[Tensor, "batch sample"] | None = None,
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
    noise
        Added as it is; clips that it is not zero for get no stretch of another clip. None: there is none.

    Returns
    -------
    A new tensor; without noise a batch of one clip is returned unchanged.
    """
    batch, total = waveform.shape
    clean = waveform if noise is None else waveform + noise
    if batch < 2 or mixing.prob == 0:
        return clean
    own = lengths.cpu()
    noisy = torch.zeros(batch, dtype=torch.bool) if noise is None else noise.any(1).cpu()
    draws = _draw(own, noisy, mixing, sample_rate, generator)
    other, source, target, length = (x.to(waveform.device) for x in draws[:4])
    longest = int(draws[3].max())
    if longest == 0:
        return clean
    offset = torch.arange(longest, device=waveform.device)
    inside = offset < length[..., None]
    read = (other[..., None] * total + source[..., None] + offset).clamp(max=batch * total - 1)
    stretch = torch.where(inside, waveform.reshape(-1)[read], waveform.new_zeros(()))
    gain = _gains(waveform, lengths, other, stretch, length, draws[4].to(waveform), mixing)
    write = (target[..., None] + offset).clamp(max=total - 1)
    sums = torch.zeros_like(waveform)
    sums.scatter_add_(1, write.reshape(batch, -1), (stretch * gain[..., None]).reshape(batch, -1))
    return clean + sums


def _draw(
    lengths: Tensor, noisy: Tensor, mixing: Mixing, sample_rate: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Draw, per clip and segment: the other clip, where it is read, where it is added, its length (0: none), a share.

    Every number is drawn whether used or not, so what one clip gets does not depend on another's luck.
    """
    batch, most = len(lengths), mixing.max_segments
    shape = (batch, most)

    def uniform(*size: int) -> Tensor:
        return torch.rand(*size, generator=generator, dtype=torch.float64)

    noise = 0.0 if mixing.noise is None else mixing.noise.prob
    # Noise was drawn before: what is left of `prob` is for the clips that have none.
    mixed = (uniform(batch) * (1 - mixing.prob * noise) < mixing.prob * (1 - noise)) & ~noisy
    number = torch.randint(1, most + 1, (batch,), generator=generator)
    other = torch.randint(0, batch - 1, shape, generator=generator)
    other = other + (other >= torch.arange(batch)[:, None]).long()
    shortest, longest = mixing.range_samples(lengths[:, None], sample_rate)
    length = shortest + (uniform(*shape) * (longest - shortest + 1)).long()
    length = torch.minimum(length, torch.minimum(lengths[other], lengths[:, None]))
    source = (uniform(*shape) * (lengths[other] - length + 1)).long()
    target = (uniform(*shape) * (lengths[:, None] - length + 1)).long()
    share = uniform(*shape)
    used = mixed[:, None] & (torch.arange(most) < number[:, None])
    return other, source, target, torch.where(used, length, 0), share


def _gains(
    waveform: Tensor,
    lengths: Tensor,
    other: Tensor,
    stretch: Tensor,
    length: Tensor,
    share: Tensor,
    mixing: Mixing,
) -> Tensor:
    """Return the factor of each stretch; `share` says where in the range of `snr_db` it lies."""
    if mixing.snr_db is None:
        return torch.full_like(share, mixing.gain)
    low, high = mixing.snr_db
    valid = frame_mask(lengths.to(waveform.device), waveform.shape[1])
    clip_power = torch.where(valid, waveform.square(), 0.0).sum(1) / valid.sum(1).clamp(min=1)
    other_power = clip_power[other] if mixing.snr_of == "clip" else stretch.square().sum(-1) / length.clamp(min=1)
    wanted = clip_power[:, None] / 10 ** ((low + share * (high - low)) / 10)
    # What is silent adds nothing, whatever its gain.
    return torch.where(other_power > 0, (wanted / other_power.clamp(min=1e-12)).sqrt(), 0.0)


_SALT = 0x0DDBA11
"""Keeps what is drawn here apart from masks, which are drawn from the same keys."""


class NoiseBank:
    """Draws noise for crops; noise that cannot be read is recorded, and the crop goes without.

    Parameters
    ----------
    mixing
        With its `noise`.
    sample_rate
        Of the crops, in Hz.
    ledger
        Where noise that cannot be read is recorded.

    Raises
    ------
    UserError
        If the manifest of noise is missing, damaged or empty.
    """

    def __init__(self, mixing: Mixing, sample_rate: int, ledger: ErrorLedger) -> None:
        assert mixing.noise is not None
        self._mixing, self._noise, self._ledger = mixing, mixing.noise, ledger
        self.clips, self.manifest_hash = read_noise(mixing.noise)
        # Ids of the noise may be those of clips, so it has a reader of its own.
        self._reader = ClipReader(sample_rate)

    def __call__(self, waveform: Float[Tensor, " sample"], key: int) -> Float[Tensor, " sample"] | None:
        """Return what is to be added to a crop, of its length; None: nothing.

        Parameters
        ----------
        waveform
            The crop, to whose mean energy the noise is set.
        key
            The crop's own, from which all chance comes.
        """
        mixing, noise = self._mixing, self._noise
        draws = torch.rand(6, generator=torch.Generator().manual_seed(key ^ _SALT), dtype=torch.float64).tolist()
        if draws[0] >= mixing.prob * noise.prob:
            return None
        clip = self.clips[int(draws[1] * len(self.clips))]
        try:
            sound = self._reader.whole(clip)
        except AudioError as error:
            self._ledger.record(clip.path, f"noise: {error.reason}", id=clip.id)
            return None
        own = len(waveform)
        shortest, longest = (int(most) for most in mixing.range_samples(torch.tensor(own), self._reader.sample_rate))
        length = min(shortest + int(draws[2] * (longest - shortest + 1)), len(sound), own)
        source, target = int(draws[3] * (len(sound) - length + 1)), int(draws[4] * (own - length + 1))
        low, high = noise.snr_db
        level = waveform.square().mean() / 10 ** ((low + draws[5] * (high - low)) / 10)
        gain = (level / sound.square().mean().clamp(min=1e-12)).sqrt()
        added = torch.zeros_like(waveform)
        added[target : target + length] = gain * sound[source : source + length]
        return added


def read_noise(noise: Noise) -> tuple[Sequence[Clip], str]:
    """Return the recordings of a manifest of noise, and the manifest's hash; UserError if there are none."""
    table = read_table(Path(noise.manifest))
    if not len(table):
        raise UserError("the manifest of noise has no clips", where=noise.manifest)
    return table, table.hash
