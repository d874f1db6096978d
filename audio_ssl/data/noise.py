"""Noise from recordings of it, added to the waveforms of training while their targets stay clean.

WavLM (Chen et al. 2022, arXiv 2110.13900, algorithm 1; UniSpeech's `mixing_collated_audios`): a clip that is mixed
gets, with some probability, one stretch of noise in the place of another clip's: as long as chance wants up to half of
the clip, at a level that sets the clip's mean energy -5 to 20 dB over that of the whole recording. Whether, which,
where and how loud comes from the crop's own key, so the noise is the same in whatever batch the crop lands.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.data.augment import Mixing, Noise
from audio_ssl.data.clip_table import read_table
from audio_ssl.data.ledger import ErrorLedger
from audio_ssl.data.loader import ClipReader
from audio_ssl.data.manifest import Clip
from audio_ssl.errors import AudioError, UserError

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
