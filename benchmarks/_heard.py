"""What systems are given to hear, and what the latest one gave.

Audio is decoded once for all systems, and the mean of every clip that the latest system heard is held, so that another
question about the same clips hears them no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from audio_ssl.base.errors import AudioError
from audio_ssl.data.audio import read_clip
from audio_ssl.data.manifest import Clip
from audio_ssl.features.pieces import ClipFeatures
from audio_ssl.features.source import FeatureSource

Array = npt.NDArray[np.float32]
Stretch = tuple[str, float, float]

BATCH_SECONDS = 60.0
"""Audio in one batch, padding included."""


class Heard:
    """Waveforms by rate and stretch, of all systems; means of the latest one. Another precision is another system."""

    waves: ClassVar[dict[tuple[int, Stretch], Tensor]] = {}
    source: FeatureSource | None = None
    means: ClassVar[dict[Stretch, Array]] = {}


def hear(clips: Sequence[Clip], source: FeatureSource) -> Iterator[ClipFeatures]:
    """Yield all layers of every usable clip, long ones first."""
    means = _means(source)
    for batch in batches(clips):
        heard = [(clip, wave) for clip in batch if (wave := _wave(clip, source)) is not None]
        if not heard:
            continue
        padded = torch.nn.utils.rnn.pad_sequence([wave for _, wave in heard], batch_first=True)
        hidden, frames = source(padded, torch.tensor([len(wave) for _, wave in heard]))
        for row, ((clip, _), total) in enumerate(zip(heard, frames.tolist(), strict=True)):
            layers = [layer[row, :total].cpu() for layer in hidden]
            means[_stretch(clip)] = torch.stack([layer.mean(0) for layer in layers]).numpy()
            yield ClipFeatures(clip, layers)


def batches(clips: Sequence[Clip]) -> list[list[Clip]]:
    """Return clips of like length together, as many as fill `BATCH_SECONDS`."""
    found: list[list[Clip]] = []
    for clip in sorted(clips, key=lambda one: -one.seconds):
        # The first is the longest.
        if found and (len(found[-1]) + 1) * found[-1][0].seconds <= BATCH_SECONDS:
            found[-1].append(clip)
        else:
            found.append([clip])
    return found


def pooled(clips: Sequence[Clip], source: FeatureSource) -> dict[str, Array]:
    """Return ``[layer, dim]`` frame means of every usable clip, by id; those heard before are not heard again."""
    means = _means(source)
    for _ in hear([clip for clip in clips if _stretch(clip) not in means], source):
        pass
    return {clip.id: means[_stretch(clip)] for clip in clips if _stretch(clip) in means}


def _wave(clip: Clip, source: FeatureSource) -> Tensor | None:
    """Return a clip's waveform; None, said why, where it cannot be used."""
    key = source.sample_rate, _stretch(clip)
    if key not in Heard.waves:
        try:
            Heard.waves[key] = torch.from_numpy(read_clip(clip, source.sample_rate))
        except AudioError as error:
            print(f"left out: {clip.id}: {error.reason}")
            return None
    wave = Heard.waves[key]
    if source.grid.num_frames(len(wave)) == 0:
        print(f"left out: {clip.id}: too short for a frame")
        return None
    return wave


def _means(source: FeatureSource) -> dict[Stretch, Array]:
    if Heard.source is not source:
        Heard.source, Heard.means = source, {}
    return Heard.means


def _stretch(clip: Clip) -> Stretch:
    return str(clip.path), clip.start, clip.seconds
