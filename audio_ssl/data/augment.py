"""Adds segments of other clips of the batch, or of noise recordings, to waveforms; targets stay those of clean audio.

MERT (Li et al. 2023, arXiv 2306.00107, section 3.3): with probability 0.5 a clip gets one to three segments of 0.5 to
1 s from other clips of its batch, at gain 1. The released code applies the mixture with one minus the probability, and
at inference as well. Here `prob` is the share of clips that are mixed, and only training clips are mixed.

WavLM (Chen et al. 2022, arXiv 2110.13900, algorithm 1; UniSpeech's `mixing_collated_audios`): with probability 0.2 a
clip gets one segment of random length, at most half of the clip, with the energies of the two whole clips -5 to 5 dB
apart: ``max_share: 0.5, snr_of: clip, snr_db: [-5, 5]``. With some probability the segment is cut from a noise
recording instead, with the clip's mean energy -5 to 20 dB above that of the whole recording (`noise`). The released
code may mix a clip with itself and may cut segments from clips that are already mixed. Here segments are cut from
other, clean clips.

A segment is cut from a single clip and never from padding. The noise of a crop is drawn from the crop's own key, so it
does not depend on the batch. Left out on purpose: reverberation.
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
    """Noise recordings; the levels are those of WavLM's code (Chen et al. 2022, arXiv 2110.13900)."""

    manifest: str
    """Manifest (.jsonl) of noise recordings, such as those of the DNS challenge. Rows are read whole."""

    prob: float = 0.5
    """Share of the mixed clips that get noise instead of another clip (no default in WavLM's code)."""

    snr_db: tuple[float, float] = (-5.0, 20.0)
    """Range of the clip's mean energy relative to that of the whole recording, in dB, drawn uniformly (WavLM)."""


@dataclass(frozen=True)
class Mixing:
    """In-batch noise mixture; the defaults are those of MERT 95M."""

    prob: float = 0.5
    """Share of clips that are mixed (MERT, arXiv 2306.00107)."""

    max_segments: int = 3
    """Maximum number of segments of a mixed clip; the number is drawn uniformly from 1 (MERT config)."""

    min_seconds: float = 0.5
    """Shortest segment, in seconds (12,000 samples at 24 kHz in MERT 95M; WavLM: 0)."""

    max_seconds: float = 1.0
    """Longest segment, in seconds (24,000 samples in MERT 95M; 1.5 s in 330M)."""

    max_share: float | None = added(None)
    """Longest segment as a share of the clip it is added to, instead of `max_seconds` (WavLM: 0.5); null: not used."""

    gain: float = 1.0
    """Gain of the segments if `snr_db` is not given (MERT config)."""

    snr_db: tuple[float, float] | None = None
    """Range of the clip's mean energy relative to the other's, in dB, uniform (WavLM: -5 to 5); null: use `gain`."""

    snr_of: Literal["stretch", "clip"] = added("stretch")
    """Energy that `snr_db` refers to: that of the segment, or that of the clip it is cut from (WavLM)."""

    noise: Noise | None = added(None)
    """Noise recordings that some mixed clips get a segment of, instead of another clip's (WavLM); null: none."""

    def check(self, where: str) -> None:
        """Raise UserError for values that cannot work."""
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
        """Return the minimum and maximum length of a segment, in samples, for clips of these lengths."""
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
    """Add segments of other clips of the batch.

    Parameters
    ----------
    waveform
        Padded waveforms. Samples past a clip's length stay as they are.
    lengths
        Number of samples of each clip.
    mixing
        Settings of the mixture.
    sample_rate
        In Hz.
    generator
        Generator on the CPU, so that the draws do not depend on the device.
    noise
        Noise to add. Clips with noise get no segment of another clip. None: no noise.

    Returns
    -------
    A new tensor. Without noise, a batch of one clip is returned unchanged.
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
    """Draw for each segment: the other clip, its start there, its start here, its length (0: no segment), and a share.

    All numbers are drawn, used or not, so the draws of one clip do not depend on those of another.
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
    """Return the gain of each segment; `share` is the position within the range of `snr_db`."""
    if mixing.snr_db is None:
        return torch.full_like(share, mixing.gain)
    low, high = mixing.snr_db
    valid = frame_mask(lengths.to(waveform.device), waveform.shape[1])
    clip_power = torch.where(valid, waveform.square(), 0.0).sum(1) / valid.sum(1).clamp(min=1)
    other_power = clip_power[other] if mixing.snr_of == "clip" else stretch.square().sum(-1) / length.clamp(min=1)
    wanted = clip_power[:, None] / 10 ** ((low + share * (high - low)) / 10)
    # A silent segment adds nothing, whatever its gain.
    return torch.where(other_power > 0, (wanted / other_power.clamp(min=1e-12)).sqrt(), 0.0)


_SALT = 0x0DDBA11
"""Makes these draws independent of the masks, which are drawn from the same keys."""


class NoiseBank:
    """Draws noise for crops. If a recording cannot be read, this is recorded and the crop gets no noise.

    Parameters
    ----------
    mixing
        Settings of the mixture, with `noise`.
    sample_rate
        Sample rate of the crops, in Hz.
    ledger
        Where recordings that cannot be read are recorded.

    Raises
    ------
    UserError
        If the manifest of noise is missing, damaged or empty.
    """

    def __init__(self, mixing: Mixing, sample_rate: int, ledger: ErrorLedger) -> None:
        assert mixing.noise is not None
        self._mixing, self._noise, self._ledger = mixing, mixing.noise, ledger
        self.clips, self.manifest_hash = read_noise(mixing.noise)
        # Noise recordings and clips may have the same ids, so they do not share a reader.
        self._reader = ClipReader(sample_rate)

    def __call__(self, waveform: Float[Tensor, " sample"], key: int) -> Float[Tensor, " sample"] | None:
        """Return the noise for a crop, of its length; None: no noise.

        Parameters
        ----------
        waveform
            The crop; the level of the noise is relative to its mean energy.
        key
            Key of the crop, the seed of all draws.
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
    """Return the recordings of a manifest of noise and its hash; UserError if it has none."""
    table = read_table(Path(noise.manifest))
    if not len(table):
        raise UserError("the manifest of noise has no clips", where=noise.manifest)
    return table, table.hash
