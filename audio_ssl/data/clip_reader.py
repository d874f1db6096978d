"""Reads clips and crops of clips, and keeps short clips decoded."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from audio_ssl.base.threads import LruCache
from audio_ssl.data.audio import read_clip
from audio_ssl.data.manifest import Clip

_WHOLE_CLIP_SECONDS = 40.0
"""Maximum seconds of a clip that is decoded whole and kept. Of longer clips only the crop is read."""


class ClipReader:
    """Reads clips and crops of clips. Short clips are kept decoded, up to `max_bytes`."""

    def __init__(self, sample_rate: int, max_bytes: int = 512 << 20) -> None:
        self.sample_rate = sample_rate
        self._cache: LruCache[Tensor] = LruCache(max_bytes, lambda waveform: waveform.nbytes)

    def whole(self, clip: Clip) -> Float[Tensor, " sample"]:
        """Return the waveform of a whole clip."""
        if clip.seconds > _WHOLE_CLIP_SECONDS:
            return torch.from_numpy(read_clip(clip, self.sample_rate))
        return self._cache.get(clip.id, lambda: torch.from_numpy(read_clip(clip, self.sample_rate)))

    def crop(self, clip: Clip, start_samples: int, num_samples: int) -> Float[Tensor, " sample"]:
        """Return a span of a clip, cut at the end of the clip."""
        if clip.seconds <= _WHOLE_CLIP_SECONDS:
            return self.whole(clip)[start_samples : start_samples + num_samples]
        span = Clip(
            clip.id,
            clip.path,
            clip.start + start_samples / self.sample_rate,
            num_samples / self.sample_rate,
            clip.sample_rate,
        )
        return torch.from_numpy(read_clip(span, self.sample_rate))[:num_samples]
